export {
  checkpointText,
  openCheckpoint,
  parseCheckpoint,
  type Checkpoint,
  type TreeHead,
} from './checkpoint.ts';
export { CompactRange, type NodeReader, type NodeSink } from './compact-range.ts';
export { emptyRoot, hashBytes, leafHash, nodeHash } from './hash.ts';
export {
  checkNote,
  cosignedAt,
  ecdsaNoteKey,
  formatNote,
  formatVerifierKey,
  mergeNotes,
  noteTypes,
  parseNote,
  parseSignatureLine,
  parseVerifierKey,
  signatureLine,
  type Note,
  type NoteKey,
  type NoteSignature,
} from './note.ts';
export {
  consistencyProof,
  inclusionProof,
  rootAt,
  verifyConsistency,
  verifyInclusion,
} from './proof.ts';
export {
  nodesFromTiles,
  TileCollector,
  tilePath,
  tileWidth,
  type TileAddress,
} from './tiles.ts';
export {
  claimOf,
  encodeEvidence,
  EvidenceCheck,
  type ActivationEvidence,
  type EvidenceClaim,
  type EvidenceLine,
  type EvidenceStatement,
} from './activation-evidence.ts';
export { verifyExport, type ExportVerdict, type VerifyOptions } from './audit-export.ts';
export { parseRecordLine, type ExportLine } from './export-line.ts';
export { baseOfOrigin, epochOfOrigin, keyInEpoch } from './origin.ts';
export { actKinds, recordKinds } from './record-kinds.ts';
