import { defineConfig } from 'vitest/config';

/** The tests that hold the code named in stryker.config.json: quick ones, without services. `npm run mutation` */
export default defineConfig({
  test: {
    include: [
      'test/unit/{access,admission,aedes-broker,cvm-dialect,device-keys,frame-guard,hpke,listener-psk,packet-rules,psk,reply,request}.test.ts',
      'test/unit/{hooks,second-dialect,sealing,token,handshake-limiter,words}.test.ts',
    ],
  },
});
