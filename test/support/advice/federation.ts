import { done, row, type AdviceRow, type TestName } from './row.ts';
import type { federationCodes } from '../../../src/common/errors/codes/federation.ts';

const by = (name: string): TestName => ['integration/services/federation/polls.test.ts', name];
const wrongServer = by(
  'a server with a wrong ID, or of the web alone, is sent nothing, alerted and explained',
);

export const federationAdvice = {
  FEDERATION_BUNDLE_INVALID: row(
    'the endpoint serves the bundle of another trust domain',
    by('the bundle of another trust domain is refused, by its SPIFFE ID and by its keys'),
    done('has the endpoint serve its own bundle again', 'the next poll accepts it'),
  ),
  FEDERATION_BUNDLE_ROLLED_BACK: row(
    'the endpoint serves a lower sequence',
    by('a bundle that was rolled back is refused, alerted and explained'),
    done('deletes the relationship and creates it again', 'the older bundle is accepted'),
  ),
  FEDERATION_ENDPOINT_UNTRUSTED: row(
    'the endpoint has another SPIFFE ID than the relationship',
    wrongServer,
    done('creates the relationship with the right SPIFFE ID', 'the bundle is accepted'),
  ),
  FEDERATION_ENDPOINT_FAILED: row(
    'the endpoint is gone for a day',
    by(
      'an endpoint that is gone for a day makes the bundle stale: shown, alerted once, in use, and healed',
    ),
    done('waits for the next poll after it is back', 'the bundle is fresh'),
  ),
} as const satisfies Readonly<Record<keyof typeof federationCodes, AdviceRow>>;
