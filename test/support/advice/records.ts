import { cannot, done, row, type AdviceRow } from './row.ts';
import type { recordCodes } from '../../../src/common/errors/codes/records.ts';

const flow = 'integration/services/approvals/flow.test.ts';
const alone = 'integration/services/approvals/alone.test.ts';
const approvalCli = 'integration/services/approvals/cli.test.ts';
const cliFlow =
  'the CLI switches dual control on, approves here and elsewhere, and verifies offline';
const log = 'integration/audit/audit-log.test.ts';

export const recordAdvice = {
  STORE_LOCKED: row(
    'another process has the database',
    [
      'integration/store/lock.test.ts',
      'a database that another process holds is refused with its pid and time, and free again after kill -9',
    ],
    done('stops the other process', 'the database opens'),
  ),
  STORE_CORRUPT: row(
    'the database file is cut or overwritten',
    [
      'integration/store/file.test.ts',
      'a cut, overwritten or foreign database file is corrupt by code, and the message names the file',
    ],
    done('restores a backup', 'the database is the one of the backup', [
      'integration/compose/restore.test.ts',
      'takes the backup and keeps what was there beside it',
    ]),
  ),
  STORE_TOO_NEW: row(
    'the database has a migration of a later release',
    [
      'integration/store/file.test.ts',
      'a database of a later release, a changed migration record and another program are told apart',
    ],
    cannot('The later release does not exist.'),
  ),
  STORE_FAILED: row(
    'another program holds a write transaction of the database',
    [
      'integration/server/failing-commits.test.ts',
      "a server that can't commit becomes unready but stays alive, and is ready after the first commit",
    ],
    done('ends the other program', 'the server is ready'),
  ),
  TOKEN_FOREIGN: row(
    'a server with a new database starts on a token with keys',
    [
      'integration/compose/foreign-token.test.ts',
      'a token of another database is refused, and taken with its own',
    ],
    done('connects the right database', 'the server starts'),
  ),
  TRUST_DOMAIN_CHANGED: row(
    'the configuration of a server names another trust domain than its database',
    [
      'integration/compose/foreign-token.test.ts',
      'a server whose trust domain was changed is refused, and starts with the one that it had',
    ],
    done('sets the name back', 'the server starts'),
  ),
  CONFIG_INVALID: row(
    'a variable has a typo',
    [
      'integration/server/bad-input.test.ts',
      'a typo in the configuration is refused with the nearest key',
    ],
    done('corrects the variable to the key that the message names', 'the configuration is taken'),
  ),
  PATH_NOT_PERMITTED: row(
    'a user without rights starts a server and an agent',
    [
      'integration/cli/permissions.test.ts',
      '${what} that may not be used is told with path, owner, mode and need',
    ],
    done('gives the right that the message names', 'the start goes on'),
  ),
  SOCKET_IN_USE: row(
    'another process listens on the socket',
    [
      'integration/sidecar/local-server/limits.test.ts',
      'a live socket is never replaced, a stale one is, and a file that is not a socket stays',
    ],
    done('ends the other process', 'the socket is taken'),
  ),
  APPROVAL_REQUIRED: row(
    'dual control is on, and an admin sets a role',
    [alone, 'each operation that always waits does so, even with an empty request'],
    done('two approvers sign the operation', 'it is executed', [approvalCli, cliFlow]),
  ),
  APPROVAL_NOT_OPEN: row(
    'an operation is withdrawn and then approved',
    [flow, 'is withdrawn by its proposer, and takes no approval afterwards'],
    done('makes the call again', 'a new operation is proposed'),
  ),
  APPROVAL_NOT_COUNTED: row(
    'a person who is no approver signs',
    [approvalCli, cliFlow],
    done('an approver signs', 'the operation is executed'),
  ),
  APPROVAL_POLICY_INVALID: row(
    'a policy has one approver',
    [flow, 'a policy with one approver, too few approvers, or a key under two names is refused'],
    done('enables it with three approvers', 'the policy is in force', [approvalCli, cliFlow]),
  ),
  SSH_KEY_INVALID: row(
    'the key of an approver is cut',
    [flow, 'a policy with one approver, too few approvers, or a key under two names is refused'],
    done('gives the line of a .pub file', 'the policy is in force', [approvalCli, cliFlow]),
  ),
  SSH_SIGNATURE_INVALID: row(
    'another namespace or another text is signed',
    [alone, 'a strange key, another namespace, another text and another operation do not count'],
    done('signs the printed line with ssh-keygen -Y sign', 'the approval counts', [
      approvalCli,
      cliFlow,
    ]),
  ),
  CHECKPOINT_INVALID: row(
    'a checkpoint is of another key, log or size',
    [
      'unit/common/tlog/tlog.test.ts',
      'a signed checkpoint opens, and is refused under another key, origin, size or with its signature cut',
    ],
    done('gives the right one', 'the checkpoint opens'),
  ),
  AUDIT_INVALID: row(
    'records, checkpoints and the tree are changed in the database',
    [log, 'a server with a changed, cut or foreign log does not start or does not sign'],
    done('puts the database of before back', 'the server signs'),
  ),
  AUDIT_LATE: row(
    'the key of the log is away for two minutes',
    [
      'integration/audit/late.test.ts',
      'records that wait for a checkpoint for minutes are announced once, until they have one',
    ],
    done('connects the token', 'the records get their checkpoint'),
  ),
  EVIDENCE_INVALID: row(
    'the list of who had confirmed is changed, in an export and in the database',
    [
      'integration/issuance/rotation/evidence.test.ts',
      'the server and the offline check refuse a changed or removed list, and name the record',
    ],
    cannot('The advice is to keep what is there. What follows is an investigation.'),
  ),
  TREE_TRUNCATED: row(
    'the checkpoint file is of another log than the database',
    [
      'integration/audit/truncated.test.ts',
      'a checkpoint file of another log is refused, and the log opens when the right one is back',
    ],
    done('puts the right one back', 'the log opens'),
  ),
  OBJECT_NOT_IN_LOG: row(
    'an entry is written by SQL',
    [log, 'an entry written by SQL signs nothing, on a running server and after a restart'],
    done(
      'updates the changed entry, deletes the forged ones, and creates the lost one again',
      'the updated and the created entry sign, the deleted ones do not',
    ),
  ),
  DATABASE_STALE: row(
    'an older copy of the database is started, and an agent shows a newer checkpoint',
    [
      'integration/audit/stale.test.ts',
      'the checkpoint of an agent reveals a restored database, and the server signs nothing until accepted',
    ],
    done('looks at the loss and accepts it', 'the server signs'),
  ),
  LEASE_LOST: row(
    'a lease is asked for while the gate is closed',
    [
      'unit/compose/signing-gate.test.ts',
      'refuses to issue before an intent is written, and gives no lease',
    ],
    cannot('Nothing is to be done: nothing was changed.'),
  ),
} as const satisfies Record<keyof typeof recordCodes, AdviceRow>;
