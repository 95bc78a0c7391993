import { createHash } from 'node:crypto';
import { PkiError, unwrap } from '../../../common/errors/index.ts';
import { uuidv7, type Clock, type Random } from '../../../common/runtime/index.ts';
import { agentId as agentIdIn, parseSelector, selectorText } from '../../../common/spiffe/index.ts';
import { sha256Hex } from '../../../common/x509/index.ts';
import type { JoinToken } from '../../../domain/index.ts';
import { issuerKeys } from '../../../issuance/index.ts';
import type { Authorities } from '../../../issuance/authorities.ts';
import type { JoinTokenStore, Page, PageRequest } from '../../../store/ports/index.ts';
import { visiblePage, type Access, type OperatorRights } from '../../callers/access.ts';
import { actorOf, type OperatorCaller } from '../../callers/caller.ts';
import type { Tokens } from '../../services.ts';
import { refusing, type RefusalLog } from '../../callers/refusal-log.ts';
import { checkPage, checkText } from '../../requests.ts';
import type { ServiceSettings } from '../../settings.ts';
import type { NodeAttestors } from '../node-attestors.ts';

export interface TokenDependencies {
  readonly tokens: Pick<JoinTokenStore, 'create' | 'list' | 'byId' | 'revoke'>;
  /** Tells which agent names are free. */
  readonly attestors: Pick<NodeAttestors, 'isFreeName'>;
  readonly authorities: Pick<Authorities, 'all' | 'issuing' | 'rootOf'>;
  /** DER of the root that the server's certificate chains to; undefined while it has none. */
  readonly shownRoot: () => Buffer | undefined;
  readonly access: Access;
  readonly refusals: RefusalLog;
  readonly clock: Clock;
  readonly random: Random;
  readonly settings: ServiceSettings;
}

const tokenBytes = 32;
const minimumTokenTtlSeconds = 10;
const maximumNameLength = 128;
const maximumNodeSelectors = 64;

interface JoinTokenRequest {
  readonly agentName: string;
  readonly ttlSeconds: number;
  readonly nodeSelectors: readonly string[];
}

/** Join tokens: 256 random bits, shown once, stored as their SHA-256. */
export class TokenService implements Tokens {
  readonly #dependencies: TokenDependencies;

  constructor(dependencies: TokenDependencies) {
    this.#dependencies = dependencies;
  }

  create(
    caller: OperatorCaller,
    request: JoinTokenRequest,
    signal?: AbortSignal,
  ): ReturnType<Tokens['create']> {
    return refusing(
      this.#dependencies.refusals,
      {
        caller,
        operation: 'CreateJoinToken',
        subject: request.agentName.slice(0, maximumNameLength),
      },
      async () => {
        const { clock } = this.#dependencies;
        const rights = await this.#dependencies.access.of(caller);
        const checked = this.#checked(rights, request);
        const token = this.#dependencies.random.bytes(tokenBytes).toString('base64url');
        const now = clock.now();
        const record: JoinToken = {
          id: uuidv7(clock.nowMs()),
          tokenSha256: createHash('sha256').update(token).digest('hex'),
          agentId: checked.agentId,
          nodeSelectors: checked.nodeSelectors,
          expiresAt: now + checked.ttlSeconds,
          boundPublicKeySha256: null,
          usedAt: null,
          resultSerial: null,
          createdBy: actorOf(caller),
          createdAt: now,
        };
        await this.#dependencies.tokens.create(
          record,
          {
            timeMs: clock.nowMs(),
            actor: actorOf(caller),
            kind: 'token.created',
            subject: record.agentId,
            detail: {
              token: record.id,
              expiresAt: record.expiresAt,
              nodeSelectors: record.nodeSelectors.map(selectorText),
            },
          },
          signal,
        );
        const rootFingerprints = this.#rootFingerprints();
        const issuerFingerprints = issuerKeys(this.#dependencies.authorities.all());
        return { token, record, rootFingerprints, issuerFingerprints };
      },
    );
  }

  /** @throws PkiError INVALID_REQUEST, ROLE_MISSING, SELECTOR_INVALID, TTL_OUT_OF_RANGE */
  #checked(
    rights: OperatorRights,
    { agentName, nodeSelectors: texts, ttlSeconds: requestedSeconds }: JoinTokenRequest,
  ): Pick<JoinToken, 'agentId' | 'nodeSelectors'> & { readonly ttlSeconds: number } {
    const { settings, attestors, access } = this.#dependencies;
    if (!attestors.isFreeName(agentName))
      throw new PkiError(
        'INVALID_REQUEST',
        `agent_name ${JSON.stringify(agentName.slice(0, 80))} is not a free path segment of ` +
          `at most ${maximumNameLength} characters of [A-Za-z0-9._-]`,
      );
    const agentId = agentIdIn(settings.trustDomain, agentName).toString();
    rights.require('token.create', { kind: 'id', spiffeId: agentId });
    if (texts.length > maximumNodeSelectors)
      throw new PkiError(
        'SELECTOR_INVALID',
        `a token has at most ${maximumNodeSelectors} node selectors`,
      );
    const nodeSelectors = [...new Set(texts)].sort().map((text) => unwrap(parseSelector(text)));
    // selectors make a node a member of node sets, and so a parent of entries that do not belong to
    // its own name
    if (nodeSelectors.length > 0) rights.require('token.create', access.all);
    const ttlSeconds =
      requestedSeconds === 0 ? settings.defaultJoinTokenTtlSeconds : requestedSeconds;
    if (
      !Number.isSafeInteger(ttlSeconds) ||
      ttlSeconds < minimumTokenTtlSeconds ||
      ttlSeconds > settings.maximumJoinTokenTtlSeconds
    )
      throw new PkiError(
        'TTL_OUT_OF_RANGE',
        `the token's lifetime of ${ttlSeconds} s is outside ${minimumTokenTtlSeconds} to ` +
          `${settings.maximumJoinTokenTtlSeconds} s`,
      );
    return { agentId, nodeSelectors, ttlSeconds };
  }

  list(caller: OperatorCaller, page: PageRequest): Promise<Page<JoinToken>> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'ListJoinTokens' },
      async () => {
        const rights = await this.#dependencies.access.of(caller);
        rights.require('token.read', { kind: 'none' });
        return visiblePage(
          (next) => this.#dependencies.tokens.list(next),
          ({ agentId }) => rights.permits('token.read', { kind: 'id', spiffeId: agentId }),
          checkPage(page),
        );
      },
    );
  }

  revoke(caller: OperatorCaller, id: string, reason: string): Promise<JoinToken> {
    return refusing(
      this.#dependencies.refusals,
      { caller, operation: 'RevokeJoinToken', subject: id.slice(0, 64) },
      async () => {
        const { clock, tokens } = this.#dependencies;
        const text = checkText('reason', reason, 500);
        const rights = await this.#dependencies.access.of(caller);
        rights.require('token.create', { kind: 'none' });
        const token = await tokens.byId(id);
        if (token === undefined)
          throw new PkiError(
            'NOT_FOUND',
            `there is no join token ${JSON.stringify(id.slice(0, 64))}`,
          );
        // revoking needs a right on the name only, whatever selectors the token gives
        rights.require('token.create', { kind: 'id', spiffeId: token.agentId });
        return tokens.revoke(id, clock.now(), {
          timeMs: clock.nowMs(),
          actor: actorOf(caller),
          kind: 'token.revoked',
          subject: token.agentId,
          detail: { token: id, reason: text },
        });
      },
    );
  }

  /**
   * Fingerprints of roots for a joining agent. The root of the server's present certificate comes
   * first, because the agent checks it. Then follow roots that the server may show next: new roots
   * that are published or already active.
   */
  #rootFingerprints(): readonly string[] {
    const { authorities, shownRoot } = this.#dependencies;
    const issuing = authorities.issuing();
    const shown =
      shownRoot() ??
      (issuing === undefined ? undefined : authorities.rootOf(issuing.id)?.certificateDer);
    const next = authorities
      .all()
      .filter(({ kind, state }) => kind === 'root' && (state === 'published' || state === 'active'))
      .map(({ certificateDer }) => certificateDer);
    return [
      ...new Set(
        [shown, ...next].flatMap((der) =>
          der === undefined || der === null ? [] : [sha256Hex(der)],
        ),
      ),
    ];
  }
}
