import { closeSync } from 'node:fs';

import { createSharedTable, SharedStore } from '../../cache/shared-store.ts';
import { storeContract } from './store-contract.ts';

storeContract({
  name: 'shared store',
  keeps: true,
  open(slots, clockS) {
    const fd = createSharedTable(slots);
    const store = new SharedStore(fd, clockS);
    closeSync(fd); // the mapping stays
    return store;
  },
});
