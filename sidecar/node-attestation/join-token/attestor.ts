import { createHash } from 'node:crypto';
import { z } from 'zod';
import { nodeAttestorType } from '../node-attestor.ts';
import { missingCredential, readSecret } from '../secret-file.ts';

/** By a token that an operator made for this node. Payload: the token as text. */
export const joinToken = nodeAttestorType({
  type: 'join_token',
  configuration: z
    .strictObject({
      token: z.string().min(1).optional().describe('Join token; prefer attestation.joinToken.path'),
      path: z.string().min(1).optional().describe('File with the join token'),
    })
    .refine(({ token, path }) => token === undefined || path === undefined, {
      message: 'give one of token, path',
    }),
  async evidence({ token, path }, logger) {
    const text =
      path === undefined
        ? token
        : await readSecret(
            path,
            {
              what: 'join token',
              next:
                'chmod 0600 it; if others could enter its folder, see with "meshca agent ' +
                'list" that this node joined and nobody else',
            },
            logger,
          );
    const trimmed = text?.trim() ?? '';
    if (trimmed === '') throw missingCredential('the join token is empty');
    return {
      payload: Buffer.from(trimmed, 'utf8'),
      name: createHash('sha256').update(trimmed).digest('hex'),
      once: true,
    };
  },
});
