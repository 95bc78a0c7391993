export { canonicalJson, type Json } from './canonical-json.ts';
export { countApprovals, judgeApproval, type CountedApproval } from './decision.ts';
export { evidenceText, verifyEvidence, type Evidence, type VerifiedEvidence } from './evidence.ts';
export {
  approvalLine,
  approvalNamespace,
  operationBytes,
  operationSha256,
  readOperation,
  type Operation,
} from './operation.ts';
export {
  checkPolicy,
  policySha256,
  policyText,
  type ApprovalPolicy,
  type Approver,
} from './policy.ts';
