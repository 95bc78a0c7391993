import { fileURLToPath } from 'node:url';

/** The entry of the product: the bundle, or from source `src/main.ts`. */
export const productEntry = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? '../../src/main.ts' : '../../product/main.js',
    import.meta.url,
  ),
);
