// Writes docs/api.md, the reference of the server's operations, from the table in src/api. The
// result is committed; test/architecture/docs.test.ts fails when it is not current.
//
//   node scripts/gen-operations.mjs
import { writeFileSync } from 'node:fs';
import { inRoot, main } from './lib.mjs';

await main(async () => {
  const { operationsMarkdown } = await import('../src/api/reference.ts');
  writeFileSync(inRoot('docs', 'api.md'), operationsMarkdown());
  console.log('docs/api.md is written');
});
