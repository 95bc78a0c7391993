/**
 * The key types that authorities and leaves may have. Authorities sign with SHA-256, except P-384
 * with SHA-384; RSA with PKCS #1 v1.5.
 */
export const keyTypes = ['ec-p256', 'ec-p384', 'rsa-2048', 'rsa-3072', 'rsa-4096'] as const;
export type KeyType = (typeof keyTypes)[number];
