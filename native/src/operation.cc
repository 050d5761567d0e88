#include "operation.h"

#include <openssl/crypto.h>

namespace tlsfarm {

void Operation::unref() {
  if (refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  // What was about to be signed is not secret, but a wrong result of a faulty card is: it can be
  // factored into the key (Lenstra's attack on CRT). Nothing of either stays in the heap.
  OPENSSL_cleanse(input, sizeof(input));
  OPENSSL_cleanse(output, sizeof(output));
  EVP_PKEY_free(key);
  delete this;
}

}  // namespace tlsfarm
