import { StartFault } from '../domain/errors.ts';
import type { World } from './world.ts';

/**
 * Sees to it that the service does not run with another encryption key than before, which would make the stored secrets
 * unreadable and mix new ones among them.
 *
 * @throws StartFault when a stored secret cannot be decrypted.
 */
export async function checkEncryptionKey({ store, cipher }: Pick<World, 'store' | 'cipher'>): Promise<void> {
  const ciphertext = await store.graphs.anyCiphertext();
  if (ciphertext === null) return;
  try {
    cipher.decrypt(ciphertext);
  } catch (error) {
    const advice = 'set SECRETS_ENCRYPTION_KEY to that key, or bring the keys.env back that belongs to the data';
    throw new StartFault(`The stored secrets were encrypted with another key than this one: ${advice}.`, {
      cause: error,
    });
  }
}
