export { runCeremony, type CeremonyOptions, type CeremonyOutcome } from './run.ts';
export { checkTranscript, type TranscriptFacts } from './verify.ts';
export { loadPlan, type LoadedPlan, type Plan } from './plan.ts';
export { verifyTranscript, type Facts, type VerifiedTranscript } from './transcript.ts';
