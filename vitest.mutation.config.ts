import { defineConfig } from 'vitest/config';

/** The tests that hold the code named in stryker.config.json: quick ones, without services. `npm run mutation` */
export default defineConfig({
  test: {
    include: [
      'test/unit/{access,admission,device-keys,frame-guard,hpke,packet-rules,psk,psk-door,reply,request}.test.ts',
      'test/unit/{sealing,token,turnstile,words}.test.ts',
    ],
    setupFiles: ['test/support/setup.ts'],
  },
});
