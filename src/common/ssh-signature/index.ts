export {
  parseSshKeyBlob,
  parseSshPublicKey,
  sshKeyText,
  type SshKeyType,
  type SshPublicKey,
} from './public-key.ts';
export {
  parseSshSignature,
  verifySshSignature,
  type SshSignature,
  type SshSignatureFacts,
} from './signature.ts';
