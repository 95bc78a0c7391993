import { z } from 'zod';
import { sha256Hex } from '../../src/common/x509/index.ts';
import type { SetContent } from './certificate-set.ts';
import type { SetFile } from './set-files.ts';

/** In each set. It is written last: a directory without it, or that differs from it, is no set. */
export const manifestName = '.set.json';

/** See NamesOfSet. */
export const namesOfSetSchema = z.strictObject({
  names: z.array(z.string()),
  roots: z.array(z.base64()),
});

const manifestSchema = z.strictObject({
  version: z.literal(1),
  number: z.number().int().positive(),
  serial: z.string().regex(/^[0-9a-f]{1,40}$/),
  leafSha256: z.string().regex(/^[0-9a-f]{64}$/),
  spiffeId: z.string(),
  notBefore: z.number().int(),
  notAfter: z.number().int(),
  authoritySetDigest: z.string().regex(/^[0-9a-f]{64}$/),
  forNames: namesOfSetSchema.optional(),
  files: z.array(
    z.strictObject({
      kind: z.string(),
      name: z.string().regex(/^[^/]+$/),
      bytes: z.number().int().nonnegative(),
      sha256: z.string().regex(/^[0-9a-f]{64}$/),
    }),
  ),
});

export type SetManifest = Readonly<z.output<typeof manifestSchema>>;

export function manifestText(
  number: number,
  content: SetContent,
  files: readonly SetFile[],
): string {
  const manifest: SetManifest = {
    version: 1,
    number,
    serial: content.serial,
    leafSha256: sha256Hex(content.chainDer[0] as Buffer),
    spiffeId: content.spiffeId.toString(),
    notBefore: content.notBefore,
    notAfter: content.notAfter,
    authoritySetDigest: content.authoritySetDigest.toString('hex'),
    ...(content.forNames === undefined
      ? {}
      : { forNames: { names: [...content.forNames.names], roots: [...content.forNames.roots] } }),
    files: files.map(({ kind, name, content: bytes }) => ({
      kind,
      name,
      bytes: bytes.length,
      sha256: sha256Hex(bytes),
    })),
  };
  return `${JSON.stringify(manifest)}\n`;
}

/** Undefined for anything that is no manifest. */
export function parseManifest(text: string): SetManifest | undefined {
  try {
    return manifestSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
