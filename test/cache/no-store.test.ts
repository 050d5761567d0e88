import { NoStore } from '../../cache/no-store.ts';
import { storeContract } from './store-contract.ts';

storeContract({ name: 'no store', keeps: false, open: () => new NoStore() });
