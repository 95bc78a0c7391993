import { PkiError } from '../../common/errors/index.ts';
import { type Clock, KeyedBuckets } from '../../common/runtime/index.ts';
import { checkNames, namesLives, type NamesProfile } from '../../domain/index.ts';
import type { Authorities } from '../../issuance/authorities.ts';
import type { Issuer } from '../../issuance/issuer.ts';
import type { Access } from '../callers/access.ts';
import { actorOf, requesterOf, type OperatorCaller } from '../callers/caller.ts';
import { callerRights } from '../callers/caller-rights.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { enforceRate, requestIdOrNew, ttlWithin } from '../requests.ts';
import type { ServiceSettings } from '../settings.ts';
import { requireOwnNames } from '../tenants/names-of-tenants.ts';
import { issueOne } from './decided.ts';
import type { Names, NamesIssued, NamesRequest } from './names.ts';

export interface NamesDependencies {
  readonly issuer: Issuer;
  readonly authorities: Pick<Authorities, 'namesRootsDer'>;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly settings: ServiceSettings;
}

/** Issues certificates of names for operators, within the DNS scopes of their roles. */
export class NamesService implements Names {
  readonly #dependencies: NamesDependencies;
  readonly #buckets: KeyedBuckets;

  constructor(dependencies: NamesDependencies) {
    this.#dependencies = dependencies;
    this.#buckets = new KeyedBuckets(dependencies.settings.signingRate, dependencies.clock);
  }

  issue(caller: OperatorCaller, request: NamesRequest, signal?: AbortSignal): Promise<NamesIssued> {
    const { refusals, access, authorities, clock, settings } = this.#dependencies;
    const stated = [...request.dnsNames, ...request.ips];
    return refusing(
      refusals,
      { caller, operation: 'IssueCertificate', subject: stated.join(' ').slice(0, 300) },
      async () => {
        const requestId = requestIdOrNew(request.requestId, clock.nowMs());
        const rights = await access.of(caller);
        rights.require('certificate.issue', { kind: 'none' });
        const subject = checkNames(request, settings.reservedDnsNames);
        rights.require('certificate.issue', { kind: 'names', subject });
        const { owners } = access;
        requireOwnNames(rights, 'certificate.issue', { owners, dnsNames: subject.dnsNames });
        const profile = profileOf(request.profile, settings);
        const actor = actorOf(caller);
        enforceRate(this.#buckets.take(actor), 'too many certificates');
        const { usual, maximum } = namesLives[profile];
        if (request.csrDer.length === 0)
          throw new PkiError('CSR_MALFORMED', 'the request has no CSR');
        const leaf = await issueOne(this.#dependencies, {
          requestId,
          csrDer: request.csrDer,
          subject,
          kind: 'endpoint',
          profile,
          ttlSeconds:
            request.ttlSeconds === 0
              ? usual
              : ttlWithin(request.ttlSeconds, settings.minimumTtlSeconds, maximum),
          caller: requesterOf(caller),
          holder: actor,
          entryId: null,
          delegationId: null,
          replaces: null,
          claim: { by: 'operator' },
          rights: caller.class === 'admin' ? callerRights(caller) : [],
          reason: { method: 'issue' },
          signal,
        });
        return { leaf, subject, profile, rootsDer: authorities.namesRootsDer() };
      },
    );
  }
}

function profileOf(text: string, { revocable }: Pick<ServiceSettings, 'revocable'>): NamesProfile {
  if (text === '') return revocable ? 'classic' : 'short';
  if (text === 'short' || text === 'classic') return text;
  throw new PkiError(
    'INVALID_REQUEST',
    text === 'hours'
      ? 'the profile hours is for the holders of a delegation alone'
      : `profile ${JSON.stringify(text.slice(0, 40))} is not one of short, classic`,
    {
      next:
        text === 'hours'
          ? 'Use short, or let a control plane with a delegation of the profile hours sign.'
          : 'Use short or classic.',
    },
  );
}
