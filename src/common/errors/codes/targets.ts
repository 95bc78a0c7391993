import { caller, type CodeInfo } from './code-info.ts';

/** Codes of commands to the file targets of agents. */
export const targetCodes = {
  TARGET_UNKNOWN: caller(
    'NOT_FOUND',
    'No agent reports a file target or group of this name.',
    'See "meshca set list" for those that are reported. A target is in the configuration of its agent (targets); an agent of an older release reports none.',
  ),
  AGENT_NOT_CONNECTED: caller(
    'UNAVAILABLE',
    'The agent has no session with the server.',
    'See "meshca agent list" for the agent, and its log for the reason. On its node, "meshca set" with --local works without the server.',
  ),
} as const satisfies Record<string, CodeInfo>;
