import {
  createIssuer,
  createJwtIssuer,
  ServerCertificate,
  type Issuer,
  type PrepareOptions,
} from '../issuance/index.ts';
import { SpiffeId } from '../common/spiffe/index.ts';
import { serverHolder } from '../domain/index.ts';
import { maximumJoinTokenTtlSeconds, type ConfiguredFront } from '../services/index.ts';
import type { AuthorityStage } from './authorities.ts';
import type { ServerContext } from './context.ts';
import { frontsOf, issuerUrlOf, ocspUrlOf, reservedDnsNames } from './settings.ts';
import type { RecordStage } from './store-and-log.ts';
import type { TokenStage } from './tokens.ts';

/** The fourth stage: leaves and JWT-SVIDs, and the server's own certificate. */
export interface IssuingStage extends AsyncDisposable {
  readonly issuer: Issuer;
  readonly certificate: ServerCertificate;
  readonly fronts: readonly FrontCertificate[];
  /** Obtains the server's own certificate and those of the fronts, and renews them from then on. */
  readonly certify: () => Promise<void>;
}

/** The certificate for the clients of a control plane, and the names by which they dial. */
export interface FrontCertificate extends ConfiguredFront {
  readonly certificate: ServerCertificate;
}

interface Below {
  readonly context: ServerContext;
  readonly tokens: TokenStage;
  readonly records: RecordStage;
  readonly authorities: AuthorityStage;
}

export function openIssuing(below: Below): IssuingStage {
  const { config } = below.context;
  const issuer = below.tokens.gate.issuer(buildIssuer(below));
  const certificate = buildCertificate(below, issuer, config.listen.dnsNames);
  const fronts = frontsOf(config).map((front) => ({
    ...front,
    certificate: buildCertificate(below, issuer, front.dnsNames, front.type),
  }));
  return {
    issuer,
    certificate,
    fronts,
    certify: async () => {
      await certificate.start();
      for (const front of fronts) await front.certificate.start();
    },
    [Symbol.asyncDispose]: async () => {
      certificate.close();
      for (const front of fronts) front.certificate.close();
    },
  };
}

function buildCertificate(
  below: Below,
  issuer: Issuer,
  dnsNames: readonly string[],
  front?: string,
): ServerCertificate {
  const { context, records, authorities } = below;
  const { config, trustDomain, clock, random, logger } = context;
  const { issuance, blockedKeys } = records.store;
  const holder = serverHolder(front);
  return new ServerCertificate({
    issuer,
    authorities: authorities.registry,
    trustDomain,
    dnsNames,
    holder,
    ttlSeconds: config.issuance.serverTtlSeconds,
    clock,
    random,
    logger,
    blockedKeys: {
      isBlocked: (digest) => blockedKeys.get(digest) !== undefined,
      onChange: (listener) => records.store.onRevision(listener),
    },
    rootHeld: (rootId) => isRootKnown(below, rootId),
    presented: (serial) => issuance.confirmGone(holder, 'server', serial, clock.now()),
  });
}

/**
 * Whether every agent that may come back holds the root, and no join token from before its
 * activation may still bring an agent: such a token states the fingerprint of the previous root.
 */
async function isRootKnown(
  { context, records, authorities }: Below,
  rootId: string,
): Promise<boolean> {
  if (!authorities.rotation.controller.rootHeld(rootId)) return false;
  const root = authorities.registry.all().find(({ id }) => id === rootId);
  const { tokens } = records.store;
  return !(await tokens.isAwaited({
    madeUntil: root?.activatedAt ?? 0,
    now: context.clock.now(),
    longestLifeSeconds: maximumJoinTokenTtlSeconds,
  }));
}

function buildIssuer({ context, tokens, records, authorities }: Below): Issuer {
  const { config, trustDomain, clock, random, metrics, faults } = context;
  const { issuance } = config;
  const { store } = records;
  const { registry, renewals } = authorities;
  const options: PrepareOptions = {
    clock,
    random,
    leafBackdateSeconds: issuance.leafBackdateSeconds,
    minimumTtlSeconds: issuance.minimumTtlSeconds,
    isAuthorityKey: (digest) => registry.isAuthorityKey(digest),
    assignShard: (authorityId) => authorities.shards.assign(authorityId),
    giveBackShard: (authorityId, shard) => authorities.shards.giveBack(authorityId, shard),
    issuerUrl: issuerUrlOf(config),
    ocspUrl: ocspUrlOf(config),
    reservedDnsNames: reservedDnsNames(config),
  };
  const { issuancePolicy } = records;
  const jwt = createJwtIssuer({
    issuancePolicy,
    store: store.issuance,
    quotas: store.quotas,
    signers: tokens.gate.signers,
    authority: () => registry.jwt(),
    clock,
    random,
    issuer: issuance.jwtIssuer ?? SpiffeId.of(`spiffe://${trustDomain.name}`).toString(),
  });
  return createIssuer({
    store: store.issuance,
    recorded: records.recorded,
    issuancePolicy,
    audit: store.audit,
    signers: tokens.gate.signers,
    authorities: registry,
    jwt,
    clock,
    options,
    observe: {
      issued: (kind, seconds, tenant) => metrics.issued(kind, seconds, tenant),
      refused: (code) => metrics.refused(code),
      outcome: (id, outcome) => renewals.record(id, outcome),
    },
    step: faults.step,
  });
}
