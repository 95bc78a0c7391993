import type { KeyType } from '../../common/x509/index.ts';
import type { Clock } from '../../common/runtime/index.ts';
import type { OperationName } from '../../common/wire/index.ts';
import type {
  AuthorityRequest,
  AuthoritySources,
  CrlPublisher,
  CrossRequest,
  DownstreamAuthority,
  DownstreamRequest,
  ImportedAuthority,
  ImportedCrl,
} from '../../issuance/index.ts';
import { isNamesAuthority, type Authority } from '../../domain/index.ts';
import type { Access } from '../callers/access.ts';
import { actorOf, requesterOf, type OperatorCaller } from '../callers/caller.ts';
import type { AuthoritySourcing } from '../services.ts';
import { refusing, type RefusalLog } from '../callers/refusal-log.ts';
import { requestIdOrNew } from '../requests.ts';

export interface AuthoritySourcingDependencies {
  readonly sources: Pick<AuthoritySources, 'request' | 'importChain' | 'prepareUpstream'>;
  readonly downstream: (request: DownstreamRequest) => Promise<DownstreamAuthority>;
  readonly cross: (request: CrossRequest) => Promise<Authority>;
  readonly crls: Pick<CrlPublisher, 'importExternal'>;
  /** Whether chains contain cross-certificates. */
  readonly crossInChains: boolean;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
}

/**
 * The whole mesh trusts what is imported here. Therefore every operation requires every verb on the
 * whole trust domain, or the local socket.
 */
export class AuthoritySourcingService implements AuthoritySourcing {
  readonly #dependencies: AuthoritySourcingDependencies;

  constructor(dependencies: AuthoritySourcingDependencies) {
    this.#dependencies = dependencies;
  }

  request(
    caller: OperatorCaller,
    input: {
      readonly id?: string;
      readonly keyType?: KeyType;
      readonly scope?: { readonly replica?: string; readonly region?: string };
    },
    signal?: AbortSignal,
  ): Promise<AuthorityRequest> {
    return this.#acting(caller, 'CreateAuthorityCsr', input.id, (sources) =>
      sources.request({ actor: actorOf(caller), ...input, signal }),
    );
  }

  importChain(
    caller: OperatorCaller,
    input: {
      readonly id: string;
      readonly certificatesDer: readonly Buffer[];
      readonly rootSha256?: string;
      readonly dryRun: boolean;
    },
    signal?: AbortSignal,
  ): Promise<ImportedAuthority | { readonly warnings: readonly string[] }> {
    return this.#acting(caller, 'ImportAuthority', input.id, (sources) =>
      sources.importChain({ actor: actorOf(caller), ...input, signal }),
    );
  }

  prepareUpstream(caller: OperatorCaller, signal?: AbortSignal): Promise<ImportedAuthority> {
    return this.#acting(caller, 'RequestAuthority', undefined, (sources) =>
      sources.prepareUpstream(actorOf(caller), signal),
    );
  }

  /** The holder of such an intermediate can issue every identity of the trust domain. */
  signDownstream(
    caller: OperatorCaller,
    input: {
      readonly csrDer: Buffer;
      readonly issuerId?: string;
      readonly lifeSeconds: number;
      readonly requestId: string;
    },
    signal?: AbortSignal,
  ): Promise<DownstreamAuthority> {
    return this.#acting(caller, 'SignDownstream', input.issuerId, () => {
      const { downstream, clock } = this.#dependencies;
      return downstream({
        ...input,
        caller: requesterOf(caller),
        requestId: requestIdOrNew(input.requestId, clock.nowMs()),
        signal,
      });
    });
  }

  crossSign(
    caller: OperatorCaller,
    input: { readonly fromId: string; readonly toId: string },
    signal?: AbortSignal,
  ): Promise<{ readonly authority: Authority; readonly inChains: boolean }> {
    return this.#acting(caller, 'CrossSign', input.toId, async () => {
      const { cross, crossInChains } = this.#dependencies;
      const authority = await cross({ ...input, caller: requesterOf(caller), signal });
      return { authority, inChains: crossInChains || isNamesAuthority(authority.kind) };
    });
  }

  /**
   * A CRL ends what it lists for every consumer that checks CRLs. Therefore it needs the same right
   * as the authority itself.
   */
  importCrl(
    caller: OperatorCaller,
    input: { readonly crlDer: Buffer; readonly dryRun: boolean },
  ): Promise<ImportedCrl> {
    return refusing(this.#dependencies.refusals, { caller, operation: 'ImportCrl' }, async () => {
      (await this.#dependencies.access.of(caller)).requireEverything('importing a CRL');
      return this.#dependencies.crls.importExternal({ actor: actorOf(caller), ...input });
    });
  }

  #acting<T>(
    caller: OperatorCaller,
    operation: OperationName,
    subject: string | undefined,
    act: (sources: AuthoritySourcingDependencies['sources']) => Promise<T>,
  ): Promise<T> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation, subject: subject?.slice(0, 64) },
      async () => {
        (await this.#dependencies.access.of(caller)).requireEverything('importing an authority');
        return act(this.#dependencies.sources);
      },
    );
  }
}
