import { caller, operator, type CodeInfo } from './code-info.ts';

/** Codes of start, database, dual control and the audit log. */
export const recordCodes = {
  // store and start
  STORE_LOCKED: operator(
    'FAILED_PRECONDITION',
    'Another process has the database open.',
    'Another server uses this database; stop it first, or give this one a database of its own.',
  ),
  STORE_CORRUPT: operator(
    'DATA_LOSS',
    'The database is damaged.',
    'Stop the server, and restore a backup: "meshca restore database FILE". Keep the ' +
      'damaged file, which shows what happened.',
  ),
  STORE_TOO_NEW: operator(
    'FAILED_PRECONDITION',
    'The database has a later schema than this release knows.',
    'The database was migrated by a later release; run that release.',
  ),
  STORE_FAILED: operator(
    'UNAVAILABLE',
    'The database could not be read or written.',
    'Check the disk and the file that the message names. The server goes on by itself with ' +
      'the first commit that succeeds.',
  ),
  TOKEN_FOREIGN: operator(
    'FAILED_PRECONDITION',
    'Token and database do not belong together.',
    'The token holds keys of another database or trust domain: connect the right database, or use a new token.',
  ),
  TRUST_DOMAIN_CHANGED: operator(
    'FAILED_PRECONDITION',
    'The configuration names another trust domain than the database.',
    'Set trustDomain back to the name that the database has, or start with a new database and a new token.',
  ),
  CONFIG_INVALID: operator(
    'INVALID_ARGUMENT',
    'The configuration breaks a rule.',
    'Correct the key that the message names; "meshca validate" checks a file without starting.',
  ),
  PATH_NOT_PERMITTED: operator(
    'FAILED_PRECONDITION',
    'The user of this process may not use a file or directory that it needs.',
    'Give the user that the message names the right that it names (chown, chmod), run it as ' +
      'another user, or name another path in the configuration.',
  ),
  SOCKET_IN_USE: operator(
    'FAILED_PRECONDITION',
    'The address or path to listen on is taken.',
    'Another process listens there; stop it or choose another path.',
  ),

  // dual control
  APPROVAL_REQUIRED: caller(
    'FAILED_PRECONDITION',
    'The call is under dual control and waits for approval.',
    'Have the operation approved: "meshca approval show ID" shows what would happen, ' +
      '"meshca approval sign ID --ssh-key ~/.ssh/id_ed25519" approves it.',
  ),
  APPROVAL_NOT_OPEN: caller(
    'FAILED_PRECONDITION',
    'The operation takes no approvals any more.',
    'The operation is over or void, as the message says. If it is still wanted, make the ' +
      'call again: that proposes a new one.',
  ),
  APPROVAL_NOT_COUNTED: caller(
    'PERMISSION_DENIED',
    'The approval is valid and does not count for this operation.',
    'An approval takes the SSH key of an approver of the policy in force ("meshca ' +
      'dual-control show") who did not propose the operation himself and has not approved it ' +
      'yet.',
  ),
  APPROVAL_POLICY_INVALID: caller(
    'INVALID_ARGUMENT',
    'The policy of dual control breaks a rule.',
    'Correct the policy as the message says: at least two approvers must be asked for, each ' +
      'with a name and a key of his own.',
  ),
  SSH_KEY_INVALID: caller(
    'INVALID_ARGUMENT',
    'The text is no SSH public key that may approve.',
    'Give one line of a .pub file: ssh-ed25519, ecdsa-sha2-nistp256, ssh-rsa from 2048 bits ' +
      'on, or their security key forms.',
  ),
  SSH_SIGNATURE_INVALID: caller(
    'INVALID_ARGUMENT',
    'The SSH signature does not verify for this operation.',
    'Sign the line that "meshca approval show ID" prints: ssh-keygen -Y sign -n meshca-approval@v1 -f KEY FILE.',
  ),

  // audit log
  CHECKPOINT_INVALID: caller(
    'INVALID_ARGUMENT',
    'The checkpoint is not signed by the log, or is not of this log.',
    'Give a checkpoint (signed note) of this log and the public key of the log; see "meshca audit export".',
  ),
  AUDIT_INVALID: caller(
    'DATA_LOSS',
    'A record of the audit log is not the one that was signed.',
    'Keep the file and the database as they are: the log was altered. The message names the ' +
      'first record that is wrong.',
  ),
  AUDIT_LATE: operator(
    'UNAVAILABLE',
    'Records of the audit log have had no checkpoint for minutes.',
    'Connect the token that holds the key of the log, or look at the error in the server log.',
  ),
  EVIDENCE_INVALID: caller(
    'DATA_LOSS',
    'The list of who had confirmed an authority is not the one on record.',
    'Keep the file and the database as they are: the list of who had confirmed was altered ' +
      'or taken away; the record of the activation stands, and says how many there were.',
  ),
  TREE_TRUNCATED: operator(
    'DATA_LOSS',
    'The database holds fewer records than were signed.',
    'The database is older than, or another than, the log that was signed last: put the ' +
      'right one back, or use "meshca restore" if it comes from a backup.',
  ),
  OBJECT_NOT_IN_LOG: operator(
    'DATA_LOSS',
    'An object in the database is not as the audit log has it.',
    'The object was changed past the server: compare it with "meshca audit search". Then ' +
      'update or delete it through the API (create it again if it is gone), or restore the ' +
      'database.',
  ),
  DATABASE_STALE: caller(
    'UNAVAILABLE',
    'The database is older than what was signed last; nothing is signed.',
    'The database was restored from a backup: an operator must look at the difference and ' +
      'accept it ("meshca restore accept").',
  ),
  LEASE_LOST: operator(
    'ABORTED',
    'Another server does this work now.',
    'Nothing was changed, and nothing is to be done: the server that holds the lease goes on with the work.',
  ),
} as const satisfies Record<string, CodeInfo>;
