// The part of init.mjs that talks to the module. Reads its job as JSON from stdin:
//   { "modulePath": PATH, "tokenDir": PATH, "tokens": [{ "label", "pinFile", "soPinFile" }] }
// with SOFTHSM2_CONF in the environment; writes { "created": [LABEL] }. A token that exists is
// never initialised again, since that would destroy its keys.
import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import pkcs11js from 'pkcs11js';

class JobError extends Error {}

const { modulePath, tokenDir, tokens } = JSON.parse(readFileSync(0, 'utf8'));

try {
  for (const token of tokens)
    withModule((module) => unfinished(module, token)).forEach((folder) =>
      rmSync(folder, { recursive: true }),
    );
  const created = tokens
    .filter((token) => withModule((module) => ensureToken(module, token)))
    .map((token) => token.label);
  process.stdout.write(JSON.stringify({ created }));
} catch (error) {
  process.stderr.write(error instanceof JobError ? error.message : `${error.stack}`);
  process.exitCode = 1;
}

/**
 * A fresh initialisation per token: SoftHSM gives an initialised slot its final ID only at the next
 * one.
 */
function withModule(work) {
  const module = new pkcs11js.PKCS11();
  module.load(modulePath);
  module.C_Initialize({ flags: pkcs11js.CKF_OS_LOCKING_OK });
  try {
    return work(module);
  } finally {
    module.C_Finalize();
  }
}

/**
 * Folders that a killed run left half made: those that came after its marker, hold no object, and
 * have this label or can not be read at all. SoftHSM writes token.object in several steps, and a
 * token is of use to nobody before its PINs are set.
 */
function unfinished(module, token) {
  if (!existsSync(markerOf(token))) return [];
  const before = JSON.parse(readFileSync(markerOf(token), 'utf8'));
  const labels = new Map(
    module
      .C_GetSlotList(true)
      .map((slot) => tokenInfo(module, slot))
      .filter(isInitialised)
      .map((info) => [trimmed(info.serialNumber), trimmed(info.label)]),
  );
  // a folder is named by a UUID, whose last 16 digits are the serial number
  const labelOf = (folder) => labels.get(folder.replaceAll('-', '').slice(-16)) ?? token.label;
  return readdirSync(tokenDir)
    .filter((folder) => !before.includes(folder) && labelOf(folder) === token.label)
    .map((folder) => join(tokenDir, folder))
    .filter((folder) =>
      readdirSync(folder).every((name) =>
        ['generation', 'token.lock', 'token.object'].includes(name),
      ),
    );
}

/** While it is there, a token is being made: it names the folders that were there before. */
function markerOf({ pinFile }) {
  return `${pinFile}.making`;
}

/** @returns {boolean} whether anything had to be made */
function ensureToken(module, { label, pinFile, soPinFile }) {
  const slots = module.C_GetSlotList(true).map((slot) => ({ slot, info: tokenInfo(module, slot) }));
  const found = slots.filter(({ info }) => isInitialised(info) && trimmed(info.label) === label);
  if (found.length > 1)
    throw new JobError(
      `there are ${found.length} tokens with the label ${label}; remove the wrong ones with ` +
        'softhsm2-util --delete-token --serial',
    );
  const token = found[0]?.slot;

  if (token === undefined) {
    // What can't be read may be this very token with its keys: a second one must not take its
    // place.
    if (slots.some(({ info }) => info === undefined)) {
      throw new JobError(
        `the token ${label} was not found, and one token in the store is damaged or half ` +
          'written: put back its folder, or remove it if it never held keys',
      );
    }
    const free = slots.find(({ info }) => !isInitialised(info));
    if (free === undefined) throw new JobError('the module offers no free slot');
    // Both PINs are durable before the token takes them: a crash in between leaves nothing locked.
    const [soPin, pin] = [ensurePin(soPinFile), ensurePin(pinFile)];
    // The standard pads labels with blanks; pkcs11js would pad with zero bytes, and other tools not
    // find the token.
    writeDurably(markerOf({ pinFile }), JSON.stringify(readdirSync(tokenDir)));
    module.C_InitToken(free.slot, soPin, label.padEnd(32));
    setUserPin(module, free.slot, soPin, pin);
    rmSync(markerOf({ pinFile }));
    return true;
  }
  if ((module.C_GetTokenInfo(token).flags & pkcs11js.CKF_USER_PIN_INITIALIZED) === 0) {
    setUserPin(module, token, readPin(soPinFile, label), ensurePin(pinFile));
    return true;
  }
  inSession(module, token, (session) =>
    login(module, session, pkcs11js.CKU_USER, readPin(pinFile, label), pinFile),
  );
  rmSync(markerOf({ pinFile }), { force: true });
  return false;
}

function setUserPin(module, slot, soPin, pin) {
  inSession(module, slot, (session) => {
    login(module, session, pkcs11js.CKU_SO, soPin, "the security officer's file");
    module.C_InitPIN(session, pin);
  });
}

function login(module, session, user, pin, source) {
  try {
    module.C_Login(session, user, pin);
  } catch (error) {
    if (error.code !== pkcs11js.CKR_PIN_INCORRECT) throw error;
    throw new JobError(
      `the token does not accept the PIN in ${source}: put back the file that belongs to it`,
    );
  }
}

function inSession(module, slot, work) {
  const session = module.C_OpenSession(slot, pkcs11js.CKF_SERIAL_SESSION | pkcs11js.CKF_RW_SESSION);
  try {
    return work(session);
  } finally {
    module.C_CloseSession(session);
  }
}

function tokenInfo(module, slot) {
  try {
    return module.C_GetTokenInfo(slot);
  } catch {
    return undefined;
  }
}

/** Fields of a fixed length are padded, with blanks by the standard, with zero bytes by some. */
function trimmed(text) {
  return text.replace(/[\s\0]+$/, '');
}

function isInitialised(info) {
  return info !== undefined && (info.flags & pkcs11js.CKF_TOKEN_INITIALIZED) !== 0;
}

function readPin(path, label) {
  if (!existsSync(path)) {
    throw new JobError(
      `the token ${label} exists, but its PIN file ${path} does not: put the file back, or ` +
        `move the folder ${dirname(dirname(path))} away to begin with new keys`,
    );
  }
  return readFileSync(path, 'utf8').trim();
}

/**
 * The PIN in the file, made first when there is none: 192 random bits, readable by the owner only,
 * durable on return.
 */
function ensurePin(path) {
  if (!existsSync(path)) writeDurably(path, randomBytes(24).toString('base64url'));
  return readFileSync(path, 'utf8').trim();
}

function writeDurably(path, text) {
  const handle = openSync(`${path}.new`, 'w', 0o600);
  writeFileSync(handle, text);
  fsyncSync(handle);
  closeSync(handle);
  renameSync(`${path}.new`, path);
  const folder = openSync(dirname(path), 'r');
  fsyncSync(folder);
  closeSync(folder);
}
