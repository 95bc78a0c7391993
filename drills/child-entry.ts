import { fileURLToPath } from 'node:url';

/** What a process of a drill is started with: a bundle, or the source. */
export const childEntry = (name: string): string =>
  fileURLToPath(
    new URL(
      import.meta.url.endsWith('.ts') ? `./${name}.ts` : `../drill-processes/${name}.js`,
      import.meta.url,
    ),
  );
