import { readFile } from 'node:fs/promises';
import { PkiError, unwrap } from '../../src/common/errors/index.ts';
import { certificatesFromPem } from '../../src/common/x509/index.ts';
import { parseBundleDocument, rootsOnly, type BundleDocument } from './document.ts';

/**
 * Reads the bundle that the operator gives for bootstrap: a SPIFFE bundle document, or the roots in
 * PEM. Throws BUNDLE_INVALID.
 */
export async function readBundleFile(path: string): Promise<BundleDocument> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (thrown) {
    throw new PkiError(
      'BUNDLE_INVALID',
      `the bundle file ${path} can not be read (${(thrown as NodeJS.ErrnoException).code ?? 'unknown error'})`,
      { cause: thrown },
    );
  }
  const document = text.trimStart().startsWith('{')
    ? unwrap(parseBundleDocument(text))
    : fromPem(path, text);
  if (document.rootsDer.length === 0)
    throw new PkiError('BUNDLE_INVALID', `the bundle file ${path} holds no root`);
  return document;
}

function fromPem(path: string, text: string): BundleDocument {
  const roots = certificatesFromPem(text);
  if (!roots.ok)
    throw new PkiError('BUNDLE_INVALID', `the bundle file ${path}: ${roots.error.message}`, {
      cause: roots.error,
    });
  return rootsOnly(roots.value);
}
