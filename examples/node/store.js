// What the device keeps in its flash: its key, and what the gateway gave it.
import { createHash, createPrivateKey, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** @param {string} folder readable for its owner only; it is made if it is not there */
export function openStore(folder) {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const read = (name) => readIfThere(join(folder, name));

  return {
    /** The key of this device, made before its first request: all further ones must come with the same. */
    privateKey() {
      const stored = read('device.key');
      if (stored !== undefined) return createPrivateKey(stored);
      const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
      writeWhole(folder, 'device.key', privateKey.export({ type: 'pkcs8', format: 'pem' }));
      return privateKey;
    },

    /**
     * The CSR of this device. It is made once: signing anew changes nothing for the gateway, which goes by the key, and costs a signature.
     * @param make makes it, as PEM, where there is none yet
     */
    async csr(make) {
      const stored = read('device.csr');
      if (stored !== undefined) return stored;
      const made = await make(this.privateKey());
      writeWhole(folder, 'device.csr', made);
      return made;
    },

    /** AWS names a certificate by the SHA-256 of its DER. Undefined before there is one. */
    certificateId() {
      const stored = read('device.crt');
      return stored === undefined ? undefined : idOf(new X509Certificate(stored));
    },

    /**
     * @param reply the accepted one of the gateway
     * @throws when its certificate is not for our key: nothing is stored then, and nothing may be acknowledged
     */
    keep({ certificateId, certificatePem, rootCa, endpoint }) {
      const certificate = new X509Certificate(certificatePem);
      if (!certificate.checkPrivateKey(this.privateKey()))
        throw new Error('the certificate is not for the key of this device');
      if (idOf(certificate) !== certificateId) throw new Error('the certificate is not the one that the reply names');
      writeWhole(folder, 'root-ca.pem', rootCa);
      writeWhole(folder, 'endpoint', endpoint);
      // last: where it is, all is
      writeWhole(folder, 'device.crt', certificatePem);
    },
  };
}

const idOf = ({ raw }) => createHash('sha256').update(raw).digest('hex');

function readIfThere(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  }
}

/** After a power cut the file has its whole content, or what it had before. */
function writeWhole(folder, name, content) {
  const path = join(folder, name);
  const file = openSync(`${path}.new`, 'w', 0o600);
  try {
    writeFileSync(file, content);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  // the new name is in the folder, so that must be on the disk as well
  const directory = openSync(folder, 'r');
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
