/**
 * On Node.js 20 the AWS SDK prints at each start that its versions of next year will need a newer one. The SDK's version is
 * pinned, and package.json says which Node.js it needs, so this warning is dropped; every other one is printed as before.
 */
export function hideNodeWarning(): void {
  const listeners = process.listeners('warning');
  process.removeAllListeners('warning');
  process.on('warning', (warning) => {
    if (warning.message.startsWith('NodeVersionSupportWarning')) return;
    for (const listener of listeners) listener(warning);
  });
}
