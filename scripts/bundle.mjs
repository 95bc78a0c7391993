// Bundles the compiled product into dist/product, and what drills start as processes into dist/drill-processes: folders
// of few files, which start in half the CPU time of the several hundred modules that they are made of. Native modules
// stay outside.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { dirname, relative, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { inRoot } from './lib.mjs';

/** What the product starts, by the compiled module that each begins with. */
const children = {
  'signer-process': 'src/hsm/signer-process.js',
  'token-admin-process': 'src/hsm/token-admin-process.js',
  'inspector-child': 'sidecar/attest/unix/inspector-child.js',
  'book-thread': 'src/issuance/crl/book-thread.js',
  'checkpoint-thread': 'src/store/sqlite/checkpoint-thread.js',
};
const product = { main: 'src/main.js', ...children };
const drillProcesses = {
  ...children,
  ...Object.fromEntries(
    [
      'attacker',
      'federation-workload',
      'mtls-workload',
      'outage-client',
      'provision-client',
      'sds-proxy',
      'server-process',
    ].map((name) => [name, `drills/${name}.js`]),
  ),
};

/** Native, or only loaded for a person at a terminal. */
const external = ['koffi', 'pkcs11js', 'pino-pretty'];

/** CommonJS modules in the bundle ask for built-in and external modules. */
const banner = [
  "import { createRequire as meshcaCreateRequire } from 'node:module';",
  "import { dirname as meshcaDirname } from 'node:path';",
  'const require = meshcaCreateRequire(import.meta.url);',
  "const meshcaPackage = (name) => meshcaDirname(require.resolve(name + '/package.json'));",
].join('\n');

export async function bundle() {
  const { build, stop } = await import('esbuild');
  await bundleInto(inRoot('dist', 'product'), product, build);
  await bundleInto(inRoot('dist', 'drill-processes'), drillProcesses, build);
  // its process would live as long as this one
  await stop();
}

async function bundleInto(folder, entries, build) {
  rmSync(folder, { recursive: true, force: true });
  await build({
    absWorkingDir: inRoot(),
    entryPoints: Object.fromEntries(
      Object.entries(entries).map(([name, path]) => [name, inRoot('dist', path)]),
    ),
    outdir: folder,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node24',
    external,
    banner: { js: banner },
    chunkNames: '[name]-[hash]',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'external',
    sourcemap: 'linked',
    sourcesContent: false,
    logLevel: 'error',
    plugins: [packageFolders, packagesOnDemand, httpAlone, contractsParsed, englishOnly],
  });
}

/**
 * Libraries that load a contract of their own beside their code find it by `__dirname`. In the bundle that becomes the
 * folder of their package.
 */
const packageFolders = {
  name: 'package-folders',
  setup({ onLoad }) {
    onLoad({ filter: /node_modules\/.*\.c?js$/ }, ({ path }) => {
      const contents = readFileSync(path, 'utf8');
      if (!/\b__dirname\b/.test(contents)) return undefined;
      const { name, folder } = packageOf(path);
      const below = relative(folder, dirname(path)).split(sep).join('/');
      const expression = `(meshcaPackage(${JSON.stringify(name)})+${JSON.stringify(`/${below}`)})`;
      return { contents: contents.replaceAll(/\b__dirname\b/g, expression), loader: 'js' };
    });
  },
};

/**
 * Packages that are imported when they are needed stay outside: of a CommonJS module in a chunk of its own the bundler
 * would export `default` alone, and no names.
 */
const packagesOnDemand = {
  name: 'packages-on-demand',
  setup({ onResolve }) {
    onResolve({ filter: /^[@a-z]/ }, ({ kind, path }) =>
      kind === 'dynamic-import' ? { path, external: true } : undefined,
    );
  },
};

/**
 * An import of `node:http` reads each of its exports, and with them loads a second HTTP client and WebSockets that
 * nobody uses: 60 ms of CPU at each start. `require` does not.
 */
const httpAlone = {
  name: 'http-alone',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:http$/ }, ({ kind, path }) =>
      kind === 'import-statement' ? { path, namespace: 'required' } : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'required' }, ({ path }) => ({
      contents: `module.exports = require(${JSON.stringify(path)});`,
    }));
  },
};

/** Contracts are parsed here once, and not at each start. */
const contractsParsed = {
  name: 'contracts-parsed',
  setup({ onLoad }) {
    onLoad({ filter: /\/dist\/src\/common\/wire\/contract-json\.js$/ }, async ({ path }) => {
      const { contractJson, contractPaths } = await import(pathToFileURL(path).href);
      const texts = Object.fromEntries(
        contractPaths.map((each) => [each, JSON.stringify(contractJson(each))]),
      );
      return {
        contents: `const texts = ${JSON.stringify(texts)};
          export const contractJson = (path) => JSON.parse(texts[path]);`,
      };
    });
  },
};

/** zod exports its messages in 50 languages, and the bundler can not tell that nobody reads them. */
const englishOnly = {
  name: 'english-only',
  setup({ onLoad }) {
    onLoad({ filter: /\/zod\/v4\/locales\/index\.js$/ }, () => ({
      contents: "export { default as en } from './en.js';",
      loader: 'js',
    }));
  },
};

function packageOf(path) {
  let folder = dirname(path);
  for (;;) {
    const manifest = `${folder}/package.json`;
    if (existsSync(manifest)) {
      const { name } = JSON.parse(readFileSync(manifest, 'utf8'));
      if (name !== undefined) return { name, folder };
    }
    folder = dirname(folder);
  }
}
