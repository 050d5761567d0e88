import { MemoryStore } from '../../cache/memory-store.ts';
import { storeContract } from './store-contract.ts';

storeContract({
  name: 'memory store',
  keeps: true,
  open: (slots, clockS) => new MemoryStore(slots, clockS),
});
