import { caller, operator, type CodeInfo } from './code-info.ts';

/** Codes of tokens, ceremonies and CAs above ours. */
export const tokenCodes = {
  // hsm
  HSM_UNAVAILABLE: caller(
    'UNAVAILABLE',
    'The token does not answer.',
    'Try again later. The server opens the token again by itself. If it stays so, check ' +
      'that the HSM runs and that the server reaches it; a network HSM needs its address, ' +
      'client certificate and firewall. "meshca status" has the reason.',
  ),
  HSM_MODULE_MISSING: operator(
    'FAILED_PRECONDITION',
    'The PKCS#11 module could not be loaded.',
    'Check hsm.module: install the PKCS#11 module (softhsm2 in development) or correct its path.',
  ),
  HSM_TOKEN_NOT_FOUND: operator(
    'FAILED_PRECONDITION',
    'The module has no token with this label.',
    'Check the token label; "softhsm2-util --show-slots" or "pkcs11-tool -L" lists the ' +
      'labels. SoftHSM needs its configuration file named as softhsmConf: SOFTHSM2_CONF is ' +
      'not passed on.',
  ),
  HSM_PIN_WRONG: operator(
    'FAILED_PRECONDITION',
    'The token refused the PIN.',
    'Put the right PIN in its place, then send SIGHUP to a running server, or start it ' +
      'again. The wrong one was tried once and is not tried again, so that the token does not ' +
      'lock.',
  ),
  HSM_PIN_LOCKED: operator(
    'FAILED_PRECONDITION',
    'The token has locked its PIN.',
    'Unlock the token with its security officer PIN.',
  ),
  HSM_PIN_MISSING: operator(
    'FAILED_PRECONDITION',
    'No PIN is configured for the token, or it is not where the configuration says.',
    'Set the PIN file or the PIN environment variable that the message names.',
  ),
  HSM_PIN_FILE_OPEN: operator(
    'FAILED_PRECONDITION',
    'Others may write the file with the PIN.',
    'Take the right to write from group and others (chmod 0600), and see who changed the file.',
  ),
  HSM_KEY_NOT_FOUND: operator(
    'FAILED_PRECONDITION',
    'The token lacks a key that is on record.',
    'The database names a key that the token does not hold; connect the token that belongs to this database.',
  ),
  HSM_KEY_UNFIT: operator(
    'FAILED_PRECONDITION',
    'The key in the token could be extracted or was not made there.',
    'Only a key that was made in this token as non-extractable may sign. Find out who put ' +
      'this one there, and rotate its authority to a new key: "meshca authority rotate --kind ' +
      'KIND".',
  ),
  HSM_SIGNATURE_INVALID: operator(
    'INTERNAL',
    'A signature by the token does not verify.',
    'The token returned a signature that does not verify. Signing has stopped; check the token before restarting.',
  ),
  HSM_FAILED: operator(
    'UNAVAILABLE',
    'The token reported an error.',
    'See the CKR code in the message and the log of the token.',
  ),

  // ceremony
  PLAN_INVALID: operator(
    'INVALID_ARGUMENT',
    'The plan of the ceremony breaks a rule.',
    'Correct the key of the plan that the message names; docs/ceremony.md lists all keys.',
  ),
  CSR_DIGEST_MISMATCH: operator(
    'FAILED_PRECONDITION',
    'The CSR at the ceremony is not the one in its plan.',
    'The CSR is not the one that the plan was written for. Fetch it again from the server: ' +
      '"meshca authority csr --id ID" gives the same bytes each time. Compare its SHA-256 ' +
      'over a second channel.',
  ),
  CEREMONY_DECLINED: operator(
    'FAILED_PRECONDITION',
    'The person at the ceremony did not confirm a step.',
    'Nothing was signed. Run it again and answer "yes", or give --yes where nobody sits at a terminal.',
  ),
  TRANSCRIPT_INVALID: operator(
    'DATA_LOSS',
    'The transcript of the ceremony does not verify.',
    'The transcript was changed or is incomplete after the record that the message names; take the archived copy.',
  ),

  // upstream
  UPSTREAM_UNAVAILABLE: operator(
    'UNAVAILABLE',
    'Vault or OpenBao does not answer.',
    'Check that Vault or OpenBao runs and that authorities.upstream.address and caFile are ' +
      'right; it is asked again by itself, and issuing goes on meanwhile.',
  ),
  UPSTREAM_SEALED: operator(
    'UNAVAILABLE',
    'Vault or OpenBao is sealed.',
    'Unseal Vault or OpenBao; it is asked again by itself, and issuing goes on meanwhile.',
  ),
  UPSTREAM_DENIED: operator(
    'FAILED_PRECONDITION',
    'Vault or OpenBao refused our credential.',
    'Give the credential of authorities.upstream.auth a policy with "update" on the path ' +
      'that the message names, or correct the credential.',
  ),
  UPSTREAM_TTL: operator(
    'FAILED_PRECONDITION',
    'Vault or OpenBao gives a shorter life than is needed.',
    'Raise max_lease_ttl of the PKI mount, renew its root, or lower authorities.upstream.ttlDays.',
  ),
  UPSTREAM_INVALID: operator(
    'FAILED_PRECONDITION',
    'Vault or OpenBao gave an unexpected answer.',
    'Check mount, issuer and paths below authorities.upstream: Vault or OpenBao answered, ' +
      'but not with what was asked for.',
  ),
} as const satisfies Record<string, CodeInfo>;
