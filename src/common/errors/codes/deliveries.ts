import { operator, type CodeInfo } from './code-info.ts';

/** Codes of deliveries to file targets. */
export const deliveryCodes = {
  TARGET_ENDING: operator(
    'FAILED_PRECONDITION',
    'The certificate that a file target serves is about to end, and its successor is not served.',
    'See what the target waits for: "meshca set list". A set that waits for a hand is served by "meshca set promote".',
  ),
} as const satisfies Record<string, CodeInfo>;
