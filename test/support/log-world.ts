import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { AuditLog, type AuditLogDependencies } from '../../src/audit/index.ts';
import {
  silentLogger,
  systemClock,
  type Clock,
  type Logger,
} from '../../src/common/runtime/index.ts';
import { PkiError } from '../../src/common/errors/index.ts';
import { TrustDomain } from '../../src/common/spiffe/index.ts';
import { spkiOf } from '../../src/common/x509/index.ts';
import type { Authority } from '../../src/domain/index.ts';
import { failedOutcome } from '../../src/hsm/index.ts';
import type { Ledger } from '../../src/ledger/index.ts';
import { openStore } from './open-store.ts';
import { authority } from '../compliance/store/fixtures.ts';

/** A database and what lies beside it; a key in memory stands for that in the token. */
export interface LogWorld {
  readonly path: string;
  readonly checkpointFile: string;
  readonly authority: Authority;
  readonly privateKey: KeyObject;
  readonly trustDomain: TrustDomain;
  readonly logger: Logger;
  readonly snapshots?: AuditLogDependencies['snapshots'];
  /** Keys of further log authorities, by CKA_ID. */
  readonly otherKeys?: ReadonlyMap<string, KeyObject>;
  /** Further log authorities that the database names. */
  readonly others?: readonly Authority[];
  /** CKA_IDs whose token is away. */
  readonly awayKeys?: ReadonlySet<string>;
  readonly clock?: Clock;
}

export interface OpenedLog extends AsyncDisposable {
  readonly store: Ledger;
  readonly log: AuditLog;
}

export function logWorld(
  path: string,
  options: {
    readonly trustDomain?: string;
    readonly logger?: Logger;
    readonly snapshots?: AuditLogDependencies['snapshots'];
  } = {},
): LogWorld {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
  return {
    path,
    checkpointFile: `${path}.checkpoints`,
    privateKey,
    authority: authority({ kind: 'log', state: 'active', spkiDer: spkiOf(publicKey) }),
    trustDomain: TrustDomain.of(options.trustDomain ?? 'mesh.test'),
    logger: options.logger ?? silentLogger,
    ...(options.snapshots === undefined ? {} : { snapshots: options.snapshots }),
  };
}

/** What a start does with the database and its log. */
export async function openLog({
  path,
  checkpointFile,
  authority: signer,
  privateKey,
  trustDomain,
  logger,
  snapshots,
  otherKeys,
  others = [],
  awayKeys = new Set(),
  clock = systemClock,
}: LogWorld): Promise<OpenedLog> {
  await using stack = new AsyncDisposableStack();
  const store = await openStore({ path, clock: systemClock, logger, pid: process.pid });
  stack.defer(() => store.close());
  const log = await AuditLog.open({
    log: store.log,
    leases: store.leases,
    authority: signer,
    trustDomain,
    checkpointFile,
    clock,
    others,
    proven: () => true,
    logger,
    restored: () => Promise.resolve(),
    ...(snapshots === undefined ? {} : { snapshots }),
    signers: {
      useKey: ({ ckaId }) =>
        awayKeys.has(ckaId)
          ? Promise.reject(new PkiError('HSM_UNAVAILABLE', 'the token is away'))
          : Promise.resolve(),
      sign: (items) =>
        Promise.resolve(
          items.map(({ ckaId, bytes }) =>
            awayKeys.has(ckaId)
              ? failedOutcome('HSM_UNAVAILABLE', 'the token is away')
              : {
                  ok: true as const,
                  signature: sign('sha256', bytes, otherKeys?.get(ckaId) ?? privateKey),
                },
          ),
        ),
    },
  });
  stack.defer(() => log.close());
  const owned = stack.move();
  return { store, log, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}
