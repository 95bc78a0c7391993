/** Numbers of RFC 8446, RFC 5246 and their registries, as far as the probe needs them. */
export const contentType = { changeCipherSpec: 20, alert: 21, handshake: 22, data: 23 } as const;

export const handshakeType = {
  clientHello: 1,
  serverHello: 2,
  encryptedExtensions: 8,
  certificate: 11,
  serverKeyExchange: 12,
  certificateRequest: 13,
  serverHelloDone: 14,
  certificateVerify: 15,
  finished: 20,
  messageHash: 254,
} as const;

export const extensionType = {
  serverName: 0,
  supportedGroups: 10,
  ecPointFormats: 11,
  signatureAlgorithms: 13,
  alpn: 16,
  extendedMasterSecret: 23,
  supportedVersions: 43,
  cookie: 44,
  certificateAuthorities: 47,
  keyShare: 51,
  renegotiationInfo: 0xff01,
} as const;

export const version12 = 0x0303;
export const version13 = 0x0304;

/** Suites of TLS 1.3 (RFC 8446 appendix B.4). */
export interface Suite {
  readonly hash: 'sha256' | 'sha384';
  readonly cipher: 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305';
  readonly keyLength: 16 | 32;
}
export const suites13: ReadonlyMap<number, Suite> = new Map([
  [0x1301, { hash: 'sha256', cipher: 'aes-128-gcm', keyLength: 16 }],
  [0x1302, { hash: 'sha384', cipher: 'aes-256-gcm', keyLength: 32 }],
  [0x1303, { hash: 'sha256', cipher: 'chacha20-poly1305', keyLength: 32 }],
]);

/**
 * Suites of TLS 1.2 in which the server signs a fresh key. Those without such a signature would
 * prove nothing. The probe ends before anything is encrypted, so that it needs none of the ciphers.
 */
export const suites12: readonly number[] = [
  0xc02b, 0xc02c, 0xcca9, 0xc02f, 0xc030, 0xcca8, 0xc023, 0xc024, 0xc009, 0xc00a, 0xc027, 0xc028,
  0xc013, 0xc014, 0x009e, 0x009f, 0xccaa,
];
/** Those of them with a finite field (DHE), whose parameters have another form. */
export const finiteFieldSuites: ReadonlySet<number> = new Set([0x009e, 0x009f, 0xccaa]);

const alertNames: Readonly<Record<number, string>> = {
  0: 'close_notify',
  10: 'unexpected_message',
  40: 'handshake_failure',
  42: 'bad_certificate',
  47: 'illegal_parameter',
  50: 'decode_error',
  70: 'protocol_version',
  71: 'insufficient_security',
  80: 'internal_error',
  112: 'unrecognized_name',
  116: 'certificate_required',
  120: 'no_application_protocol',
};
export const alertText = (description: number): string =>
  `${alertNames[description] ?? 'unknown'} (${description})`;
export const noApplicationProtocol = 120;
export const unrecognizedName = 112;
export const userCanceled = 90;
