import { PkiError, unwrap } from '../../../src/common/errors/index.ts';
import { isOneLine } from '../../../src/common/runtime/index.ts';
import { SpiffeId } from '../../../src/common/spiffe/index.ts';
import type { JWTSVIDRequest__Output } from '../../../src/common/wire/generated/JWTSVIDRequest.ts';
import type { JWTSVIDResponse } from '../../../src/common/wire/generated/JWTSVIDResponse.ts';
import type { ValidateJWTSVIDRequest__Output } from '../../../src/common/wire/generated/ValidateJWTSVIDRequest.ts';
import type { ValidateJWTSVIDResponse } from '../../../src/common/wire/generated/ValidateJWTSVIDResponse.ts';
import type { Session } from '../../local-server/index.ts';
import { identityKey, type Identity } from '../../ports/entries.ts';
import { grantedBundles } from '../../ports/granted-bundles.ts';
import { validateJwtSvid } from './jwt-validation.ts';
import type { AudienceCharges } from './audiences.ts';
import type { WorkloadApiDependencies } from './options.ts';
import { toStruct } from './struct.ts';

/** As in the server. */
const maximumAudienceBytes = 512;

export function fetchJwtSvid({ svids, limits }: WorkloadApiDependencies, charges: AudienceCharges) {
  return async (session: Session, request: JWTSVIDRequest__Output): Promise<JWTSVIDResponse> => {
    const audience = checkAudiences(request.audience, limits.audiencesPerRequest);
    const wanted = request.spiffeId === '' ? undefined : unwrap(SpiffeId.parse(request.spiffeId));
    const { attested, identities } = await session.grant();
    const chosen =
      wanted === undefined ? identities : identities.filter((each) => each.spiffeId.equals(wanted));
    // the same words for an ID that exists for others and one that does not exist
    if (chosen.length === 0)
      throw new PkiError(
        'NO_IDENTITY',
        'the SPIFFE ID that was asked for is not one of this process',
      );
    const audienceKey = [...audience].sort().join('\u0000');
    for (const each of chosen) charges.charge(session, `${identityKey(each)}\u0000${audienceKey}`);
    const issued = await Promise.all(
      chosen.map((each) => svids.fetchJwt(each, audience, attested.selectors)),
    );
    // signing took time: the process that asked must still be there, and still be entitled
    session.verify();
    if (wanted === undefined) session.gaveDefault(chosen[0] as Identity);
    const seen = new Set<string>();
    return {
      svids: issued.map((svid) => {
        const unique = svid.hint === '' || !seen.has(svid.hint);
        seen.add(svid.hint);
        return {
          spiffeId: svid.spiffeId.toString(),
          svid: svid.token,
          hint: unique ? svid.hint : '',
        };
      }),
    };
  };
}

export function validateJwt({ bundles, clock }: WorkloadApiDependencies) {
  return async (
    session: Session,
    request: ValidateJWTSVIDRequest__Output,
  ): Promise<ValidateJWTSVIDResponse> => {
    if (request.audience === '')
      throw new PkiError('INVALID_REQUEST', 'the field "audience" is empty');
    if (request.svid === '') throw new PkiError('INVALID_REQUEST', 'the field "svid" is empty');
    // any process that can be attested may validate; it learns nothing but what the token says
    const { selectors } = await session.attest();
    const own = bundles.current();
    if (own === undefined) throw new PkiError('STARTING_UP', 'the agent has no trust bundle yet');
    const identities = session.identitiesOf(selectors);
    const { federated } = grantedBundles(identities, own, bundles.federated());
    const bundleOf = (name: string) => (name === own.trustDomain.name ? own : federated.get(name));
    const { spiffeId, claims } = unwrap(
      await validateJwtSvid(request.svid, request.audience, bundleOf, clock.nowMs()),
    );
    return { spiffeId: spiffeId.toString(), claims: toStruct(claims) };
  };
}

function checkAudiences(audience: readonly string[], most: number): readonly string[] {
  if (audience.length === 0)
    throw new PkiError(
      'INVALID_REQUEST',
      'the field "audience" is empty; name at least one audience',
    );
  if (audience.length > most)
    throw new PkiError(
      'INVALID_REQUEST',
      `the field "audience" has ${audience.length} values, more than ${most}`,
    );
  const bad = audience.find(
    (each) => each === '' || Buffer.byteLength(each) > maximumAudienceBytes || !isOneLine(each),
  );
  if (bad !== undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      `an audience is empty, has control characters or more than ${maximumAudienceBytes} bytes`,
    );
  return [...new Set(audience)];
}
