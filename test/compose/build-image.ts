import { composeStack, findCompose, image, revision } from './compose.ts';

/** Once for all files: the image is the same for each stack. */
export default async function buildImage(): Promise<void> {
  const compose = findCompose();
  if (compose === undefined) return;
  await composeStack(compose, { project: 'cvmtestbuild', profile: 'aws', env: { CVM_REVISION: revision } }).call(
    'build',
  );
  console.log(`built ${image}`);
}
