export type { SetContent, SetDirectory, StoredSet } from './certificate-set.ts';
export type { Applied, Driver, DriverCall } from './driver.ts';
export { systemAccounts, type AccountFiles } from './accounts.ts';
export { fileOperations, type FileOperations } from './file-operations.ts';
export {
  fileTargetOf,
  fileTargetsOf,
  overlapOf,
  type TargetContext,
} from './file-target.ts';
export { checkSet, type OfflineCheckDependencies, type SetExpectation } from './offline-check.ts';
export { TargetSets, type SetDirectoryDependencies } from './set-directory.ts';
export { filesOf, type FileKind } from './set-files.ts';
export type {
  DriverChoice,
  FileTarget,
  KeyStoreFile,
  ProofRules,
  SetLayout,
  SetPermissions,
} from './target.ts';
export type { Rollout } from '../ports/file-targets.ts';
export { targetSchema, type TargetConfig } from './target-schema.ts';
