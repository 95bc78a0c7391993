import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { PkiError, unwrap } from '../common/errors/index.ts';
import { TrustDomain } from '../common/spiffe/index.ts';
import { version } from '../common/runtime/version.ts';
import { certificatesFromPem } from '../common/x509/index.ts';
import { readPin, type ServerConfig } from '../config/index.ts';
import type { TokenRole } from '../domain/index.ts';
import type { TokenConfig } from '../hsm/index.ts';
import { defaultServiceSettings, type ServiceSettings } from '../services/index.ts';

/** What the configuration means for each part; nothing here decides, it only translates. */
export function serviceSettings(config: ServerConfig, serverUid: number): ServiceSettings {
  const { issuance, attestation, limits } = config;
  return {
    ...defaultServiceSettings, trustDomain: TrustDomain.of(config.trustDomain), serverVersion: version, reservedDnsNames: config.listen.dnsNames, adminUids: config.admin.uids, serverUid,
    minimumTtlSeconds: issuance.minimumTtlSeconds, defaultX509TtlSeconds: issuance.defaultTtlSeconds, maximumX509TtlSeconds: issuance.maximumTtlSeconds, defaultJwtTtlSeconds: issuance.jwtDefaultTtlSeconds,
    maximumJwtTtlSeconds: issuance.jwtMaximumTtlSeconds, agentTtlSeconds: issuance.agentTtlSeconds, recoveryGraceSeconds: attestation.graceDays * 86_400, defaultJoinTokenTtlSeconds: attestation.joinTokenTtlSeconds,
    x509popRootsDer: attestation.x509popCaFile === undefined ? [] : readCertificates(attestation.x509popCaFile, 'attestation.x509popCaFile'),
    attestationRate: { perSecond: attestation.perSecond, burst: attestation.perSecond * 5 }, signingRate: { perSecond: limits.signsPerSecond, burst: limits.signsBurst },
  };
}

export function tokenConfig(config: ServerConfig, role: TokenRole, env: Readonly<Record<string, string | undefined>>): TokenConfig {
  const { hsm } = config;
  return {
    modulePath: hsm.module, tokenLabel: hsm[role].label, pin: readPin(hsm[role], env), ...(hsm.softhsmConf === undefined ? {} : { environment: { SOFTHSM2_CONF: hsm.softhsmConf } }),
  };
}

export const signerCount = (config: ServerConfig): number => config.hsm.signers ?? Math.max(1, availableParallelism());

/** PEM files that the configuration names. Throws CONFIG_INVALID. */
export function readCertificates(path: string, key: string): readonly Buffer[] {
  return unwrap(certificatesFromPem(readPem(path, key)));
}

export function readPem(path: string, key: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (thrown) {
    throw new PkiError('CONFIG_INVALID', `${key}: ${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'error'})`, { grade: 'fatal' });
  }
}
