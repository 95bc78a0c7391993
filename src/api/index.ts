export { batchLimit } from './issuer.ts';
export { libraryMethods } from './library-methods.ts';
export { placeholderMessages } from './messages/entries.ts';
export { agentSvidMessage, signResult } from './messages/issuing.ts';
export { admissions, type Admission, type DualControlRule } from './operation.ts';
export { Operations } from './operations.ts';
export { admit, admittedClasses, rowAt, rows, type Row } from './row.ts';
export { delegatedItem } from './signing.ts';
export { operationTable, serviceNames } from './table.ts';
