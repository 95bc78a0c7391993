import type { IssuancePolicy } from '../../src/issuance/index.ts';

/** Allows everything, and leaves nothing on record: for tests of other things. */
export const passThroughPolicy: IssuancePolicy = {
  decide: () => ({ allowed: true, version: 0 }),
};
