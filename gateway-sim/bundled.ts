import firstBoot from './scenarios/first-boot.json' with { type: 'json' };
import lossy from './scenarios/lossy.json' with { type: 'json' };
import mixed from './scenarios/mixed.json' with { type: 'json' };
import nat from './scenarios/nat.json' with { type: 'json' };
import oldFirmware from './scenarios/old-firmware.json' with { type: 'json' };
import powerCut from './scenarios/power-cut.json' with { type: 'json' };
import sleepy from './scenarios/sleepy.json' with { type: 'json' };
import slowHandshakes from './scenarios/slow-handshakes.json' with { type: 'json' };
import wrongTokens from './scenarios/wrong-tokens.json' with { type: 'json' };
import hut from './sites/hut.json' with { type: 'json' };
import mixedFleet from './sites/mixed-fleet.json' with { type: 'json' };
import plant from './sites/plant.json' with { type: 'json' };

/** By name. They are imported, and not read, so that the build takes them along. */
export const bundledScenarios = {
  'first-boot': firstBoot,
  'power-cut': powerCut,
  sleepy,
  lossy,
  'wrong-tokens': wrongTokens,
  'old-firmware': oldFirmware,
  mixed,
  nat,
  'slow-handshakes': slowHandshakes,
};

export const bundledSites = { plant, 'mixed-fleet': mixedFleet, hut };
