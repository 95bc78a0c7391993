import { cannot, done, row, type AdviceRow } from './row.ts';
import type { tokenCodes } from '../../../src/common/errors/codes/tokens.ts';

const start = 'integration/hsm/start.test.ts';
const corrected = 'starts once module, label and PIN are corrected as the advice says';
const started = done('corrects the configuration', 'the signers start');
const ceremony = 'integration/ceremony/ceremony.test.ts';
const ceremonyCli =
  'the CLI has a dry run, refuses without a terminal or --yes, and verifies against root and file';
const upstream = 'integration/issuance/sources/upstream.test.ts';
const failures =
  'each failure of the upstream has a code: permission, TTL, mount, foreign root, no answer';

export const tokenAdvice = {
  HSM_UNAVAILABLE: row(
    'the token is gone while certificates are signed',
    [
      'fault/hsm-loss.test.ts',
      'opens the circuit at once when all signers are gone, answers without delay, and tells listeners',
    ],
    done('tries again while the server recovers its signers', 'signing goes on', [
      'fault/drill-hsm-loss.test.ts',
      'signing resumes after the loss of token, sessions or signers, without restart or wrong answer',
    ]),
  ),
  HSM_MODULE_MISSING: row('hsm.module names a file that is not there', [start, corrected], started),
  HSM_TOKEN_NOT_FOUND: row('the label is another', [start, corrected], started),
  HSM_PIN_WRONG: row('the PIN is wrong', [start, corrected], started),
  HSM_PIN_LOCKED: row(
    'the module answers CKR_PIN_LOCKED',
    ['unit/hsm/decisions.test.ts', 'a locked PIN has a code of its own and is final'],
    cannot(
      'SoftHSM locks no PIN. On real hardware the security officer unlocks it, which no test here can do.',
    ),
  ),
  HSM_PIN_MISSING: row(
    'the PIN file is empty, or not there',
    [
      'integration/hsm/pin-file.test.ts',
      'a PIN file that others may write is refused; one that all may read is used with a warning',
    ],
    done('writes the PIN into the file', 'the PIN is read'),
  ),
  HSM_PIN_FILE_OPEN: row(
    'the group may write the PIN file',
    [
      'integration/hsm/pin-file.test.ts',
      'a server does not start with a PIN file that its group may write',
    ],
    done('takes the right away (chmod 0600)', 'the server starts'),
  ),
  HSM_KEY_NOT_FOUND: row(
    'the token has no key of this ID',
    [
      'integration/hsm/keys.test.ts',
      'refuses a key of another type than recorded, and one that is not there',
    ],
    done('connects the token that holds the keys', 'the signers sign with the key', [
      'integration/hsm/keys.test.ts',
      'signs again once the token that holds the keys takes the place of another',
    ]),
  ),
  HSM_KEY_UNFIT: row(
    'keys are extractable, not sensitive, or may decrypt',
    [
      'integration/hsm/keys.test.ts',
      'refuses to sign with a key that is extractable, not sensitive, or may decrypt or unwrap',
    ],
    done('uses a key that was made in the token', 'it is taken into use'),
  ),
  HSM_SIGNATURE_INVALID: row(
    'another key takes the ID of a recorded one',
    [
      'integration/hsm/recovery.test.ts',
      'never signs with another key that took the CKA_ID of a recorded one',
    ],
    cannot('Checking a token that signs wrongly takes the tools of its vendor.'),
  ),
  HSM_FAILED: row(
    'the module answers an error without a code of ours',
    [
      'unit/hsm/decisions.test.ts',
      'finds the name wherever pkcs11js or graphene put it, and names the operation in the message',
    ],
    cannot('The log of the token is that of its vendor. SoftHSM has none of this kind.'),
  ),
  PLAN_INVALID: row(
    'a plan has an unknown key, no ceremony, or two',
    [ceremony, 'a plan with an unknown key, without a ceremony or with two is refused'],
    done('corrects the plan', 'the ceremony runs', [
      ceremony,
      'a root is made in its token, and OpenSSL takes it',
    ]),
  ),
  CSR_DIGEST_MISMATCH: row(
    'the CSR is another than that of the plan',
    [ceremony, 'the CSR comes from the other token; a tampered, swapped or foreign one is refused'],
    done('fetches the CSR again and compares its SHA-256', 'both calls give the same bytes', [
      'integration/issuance/sources/external.test.ts',
      'the CSR is for a key in the token, verifies in OpenSSL, and is the same bytes after a restart',
    ]),
  ),
  CEREMONY_DECLINED: row(
    'nobody sits at a terminal',
    [ceremony, ceremonyCli],
    done('runs it again with --yes', 'the certificate is signed'),
  ),
  TRANSCRIPT_INVALID: row(
    'a file is altered, or another root is given',
    [ceremony, ceremonyCli],
    done('verifies the archived copy', 'it verifies'),
  ),
  UPSTREAM_UNAVAILABLE: row(
    'OpenBao does not listen at the address, or has another CA',
    [upstream, failures],
    done('corrects address and caFile', 'the intermediate comes'),
  ),
  UPSTREAM_SEALED: row(
    'OpenBao is sealed at the first start',
    [
      upstream,
      'a server with a sealed upstream starts unready, and gets its intermediate after the unsealing',
    ],
    done('unseals it', 'the intermediate comes by itself'),
  ),
  UPSTREAM_DENIED: row(
    'the policy of our credential lacks the path',
    [upstream, failures],
    done('gives the policy, or the right credential', 'the intermediate comes'),
  ),
  UPSTREAM_TTL: row(
    'max_lease_ttl is shorter than ttlDays',
    [upstream, failures],
    done('raises max_lease_ttl', 'the intermediate comes'),
  ),
  UPSTREAM_INVALID: row(
    'the mount is not there',
    [upstream, failures],
    done('corrects the mount', 'the intermediate comes'),
  ),
} as const satisfies Record<keyof typeof tokenCodes, AdviceRow>;
