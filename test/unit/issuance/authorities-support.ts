import { generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { assembleSigned, buildAuthorityTbs, newSerial } from '../../../src/certs/index.ts';
import { PkiError, unwrap, type ErrorCode } from '../../../src/common/errors/index.ts';
import { systemRandom, uuidv7 } from '../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../src/common/spiffe/index.ts';
import {
  parseCertificate,
  spkiOf,
  type ParsedCertificate,
} from '../../../src/common/x509/index.ts';
import {
  isNamesAuthority,
  isRootKind,
  type Authority,
  type Intent,
} from '../../../src/domain/index.ts';
import type { TokenAdmin } from '../../../src/hsm/token-port.ts';
import { createRecordedIssuance, type RecordedIssuance } from '../../../src/issuance/index.ts';
import type { FinishItem } from '../../../src/store/ports/index.ts';
import type { FakeClock } from '../../support/agent.ts';

export const day = 86_400;
export const trustDomain = TrustDomain.of('mesh.test');
export const newKey = (): KeyObject =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

export function authority(
  clock: FakeClock,
  kind: 'root' | 'issuing' | 'names-root' | 'names-issuing',
  key: KeyObject,
  issuer?: {
    readonly certificate: ParsedCertificate;
    readonly key: KeyObject;
    readonly id: string;
  },
): { readonly record: Authority; readonly certificate: ParsedCertificate } {
  const spkiDer = spkiOf(key);
  const [notBefore, notAfter] = [clock.now() - day, clock.now() + 40 * day];
  const tbsDer = buildAuthorityTbs({
    serial: newSerial(clock.nowMs(), systemRandom),
    profile: isRootKind(kind) ? 'root' : 'intermediate',
    names: isNamesAuthority(kind),
    issuer: issuer?.certificate,
    spkiDer,
    trustDomain,
    notBefore,
    notAfter,
  });
  const certificateDer = assembleSigned(
    tbsDer,
    'ec-p256',
    sign('sha256', tbsDer, issuer?.key ?? key),
  );
  const certificate = unwrap(parseCertificate(certificateDer));
  return {
    certificate,
    record: {
      id: uuidv7(clock.nowMs()),
      kind,
      state: 'active',
      version: 3,
      keyType: 'ec-p256',
      token: isRootKind(kind) ? 'root' : 'issuing',
      ckaId: 'ab'.repeat(16),
      parentId: issuer?.id ?? null,
      scope: {},
      spkiDer,
      certificateDer,
      subjectKeyId: certificate.subjectKeyId ?? null,
      notBefore,
      notAfter,
      createdAt: clock.now(),
      activatedAt: clock.now(),
      taintedAt: null,
    },
  };
}

/** The recorded issuance over a store that keeps what it is given. */
export function recordedWorld(clock: FakeClock): {
  readonly recorded: RecordedIssuance;
  readonly intents: Intent[];
  readonly finished: FinishItem[];
  /** Set: the right ended with this code while the token signed. */
  readonly ending: { code?: ErrorCode };
} {
  const intents: Intent[] = [];
  const finished: FinishItem[] = [];
  const ending: { code?: ErrorCode } = {};
  const recorded = createRecordedIssuance({
    quotas: { ends: () => [] },
    blockedKeys: { get: () => undefined },
    clock,
    store: {
      recordIntents: async (items) => void intents.push(...items),
      finish: async (items) => {
        finished.push(...items);
        return items.map((item) =>
          item.kind !== 'signed'
            ? { state: item.kind }
            : ending.code === undefined
              ? { state: 'issued' }
              : { state: 'withheld', code: ending.code, message: 'changed' },
        );
      },
    },
  });
  return { recorded, intents, finished, ending };
}

/** A token that signs with one key, until it fails. */
export class OneKeyToken {
  failing = false;
  opened = 0;
  closed = 0;
  readonly #key: KeyObject;

  constructor(key: KeyObject) {
    this.#key = key;
  }

  readonly open = async (): Promise<TokenAdmin> => {
    this.opened += 1;
    return {
      findKey: async () => undefined,
      generateKey: async () => ({ spkiDer: spkiOf(this.#key) }),
      sign: async (_: object, bytes: Buffer) => {
        if (this.failing) throw new PkiError('HSM_UNAVAILABLE', 'away');
        return sign('sha256', bytes, this.#key);
      },
      close: async () => void (this.closed += 1),
    } as unknown as TokenAdmin;
  };
}
