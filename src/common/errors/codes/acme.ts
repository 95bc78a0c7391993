import { caller, type CodeInfo } from './code-info.ts';

/** Codes of ACME (RFC 8555). */
export const acmeCodes = {
  ACME_NONCE_USED: caller(
    'FAILED_PRECONDITION',
    'The anti-replay nonce of the request was used before.',
    'Send the request again with a fresh nonce, as ACME clients do by themselves.',
  ),
  EAB_KEY_ENDED: caller(
    'PERMISSION_DENIED',
    'The key for external account binding was revoked, has expired, or is bound to another account.',
    'Ask the operators of the CA for another key, and create an account with it.',
  ),
  ACME_ACCOUNT_ENDED: caller(
    'PERMISSION_DENIED',
    'The ACME account was deactivated or revoked.',
    'Create another account: with a new key, and with a key for external account binding that is ' +
      'still good.',
  ),
  ACME_ORDER_ENDED: caller(
    'FAILED_PRECONDITION',
    'The order was changed meanwhile, is not ready, or one of its authorizations has ended.',
    'Make a new order.',
  ),
  ACME_CAA_REFUSED: caller(
    'PERMISSION_DENIED',
    'The CAA records of a name forbid this CA to issue for it, or could not be read, when they were ' +
      'looked at again before the certificate.',
    'Let a CAA record of the name allow one of the names in caaIdentities of the directory; then ' +
      'make a new order.',
  ),
  ACME_VANTAGE_SHORT: caller(
    'UNAVAILABLE',
    'Too few of the agents that repeat validations are connected, or have answered. Nothing is ' +
      'validated with fewer.',
    'Try again in a minute. Operators: let the agents that acme.validation.vantage names connect, ' +
      'with vantage.enabled, or change what it asks for.',
  ),
  ACME_VANTAGE_DISAGREES: caller(
    'PERMISSION_DENIED',
    'The CA sees that a challenge is met, and agents elsewhere in the network do not.',
    'Let the name have the same records at every resolver, and its host answer to each place; then ' +
      'make a new order.',
  ),
  ACME_REFUSED: caller(
    'INVALID_ARGUMENT',
    'A request of an ACME client was refused.',
    'Read the problem that the client shows: its detail says what was wrong, and what to change.',
  ),
} as const satisfies Record<string, CodeInfo>;
