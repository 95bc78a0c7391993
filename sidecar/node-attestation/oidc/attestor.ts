import { createHash } from 'node:crypto';
import { z } from 'zod';
import { nodeAttestorType } from '../node-attestor.ts';
import { missingCredential, readSecret } from '../secret-file.ts';

/** By a token that the platform of this machine gives it. Payload: the token as text. */
export const oidc = nodeAttestorType({
  type: 'oidc',
  configuration: z.strictObject({
    tokenPath: z
      .string()
      .min(1)
      .describe('File with a token of an issuer in tokens.issuers of the server (oidc)'),
  }),
  async evidence({ tokenPath }, logger) {
    const told = {
      what: 'token of this machine',
      next: 'chmod 0600 it, and get a new token if others could read it',
    };
    const token = (await readSecret(tokenPath, told, logger)).trim();
    if (token === '') throw missingCredential(`${tokenPath} is empty`);
    return {
      payload: Buffer.from(token, 'utf8'),
      name: createHash('sha256').update(token).digest('hex'),
      once: true,
    };
  },
});
