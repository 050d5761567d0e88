#include "offload_engine.h"

#include <openssl/async.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include <utility>

#include "provider.h"

namespace tlsfarm {

namespace {

bool rsaPrivate(Operation* op) {
  // A raw private operation through "decrypt without padding": the default provider blinds and
  // unblinds within this one call, so no blinding state is open while another fiber runs.
  EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_from_pkey(providerLibrary(), op->key, kSoftwareProperties);
  size_t length = sizeof(op->output);
  const bool ok = ctx != nullptr && EVP_PKEY_decrypt_init(ctx) > 0 &&
                  EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING) > 0 &&
                  EVP_PKEY_decrypt(ctx, op->output, &length, op->input, op->inputLength) > 0 &&
                  length == op->inputLength;
  EVP_PKEY_CTX_free(ctx);
  op->outputLength = ok ? length : 0;
  return ok;
}

bool ecdsaSign(Operation* op) {
  EVP_PKEY_CTX* ctx = EVP_PKEY_CTX_new_from_pkey(providerLibrary(), op->key, kSoftwareProperties);
  size_t length = sizeof(op->output);
  const bool ok = ctx != nullptr && EVP_PKEY_sign_init(ctx) > 0 &&
                  EVP_PKEY_sign(ctx, op->output, &length, op->input, op->inputLength) > 0;
  EVP_PKEY_CTX_free(ctx);
  op->outputLength = ok ? length : 0;
  return ok;
}

}  // namespace

void computeInSoftware(Operation* operation) {
  // The error queue belongs to the thread, not to the fiber: what we leave in it, the next
  // connection's SSL_get_error would take for its own.
  ERR_set_mark();
  switch (operation->kind) {
    case OperationKind::kRsaPrivate:
      operation->ok = rsaPrivate(operation);
      break;
    case OperationKind::kEcdsaSign:
      operation->ok = ecdsaSign(operation);
      break;
  }
  ERR_pop_to_mark();
  operation->done = true;
}

OffloadEngine::OffloadEngine(std::unique_ptr<Device> device) : device_(std::move(device)) {}

OffloadEngine::~OffloadEngine() {
  device_->close();
  while (fifoHead_ != nullptr) {
    Operation* op = fifoHead_;
    fifoHead_ = op->next;
    op->next = nullptr;
    op->queued = false;
    op->unref();
  }
}

bool OffloadEngine::run(Operation* operation) {
  OperationOwner* owner = current_;
  // An owner that still waits for another operation cannot wait for this one (one at a time).
  if (owner == nullptr || owner->operation != nullptr || ASYNC_get_current_job() == nullptr) {
    counters_.inlined++;
    computeInSoftware(operation);
    return operation->ok;
  }

  operation->owner = owner;
  // Those in the FIFO came first; overtaking them would starve them.
  Submit answer = fifoHead_ == nullptr ? device_->submit(operation) : Submit::kRetry;
  if (answer == Submit::kRetry) {
    counters_.retries++;
    if (fifoHead_ == nullptr) {
      counters_.polls++;
      if (device_->poll(this) == 0) counters_.emptyPolls++;
      answer = device_->submit(operation);
    }
  }
  switch (answer) {
    case Submit::kAccepted:
      counters_.submitted++;
      break;
    case Submit::kDone:
      operation->owner = nullptr;
      counters_.inlined++;
      return operation->ok;
    case Submit::kRefused:
      operation->owner = nullptr;
      counters_.inlined++;
      computeInSoftware(operation);
      return operation->ok;
    case Submit::kRetry:
      operation->ref();
      operation->queued = true;
      operation->next = nullptr;
      if (fifoTail_ != nullptr) {
        fifoTail_->next = operation;
      } else {
        fifoHead_ = operation;
      }
      fifoTail_ = operation;
      fifoLength_++;
      counters_.queued++;
      break;
  }

  owner->operation = operation;
  // Somebody may call SSL_do_handshake too early: pause again. (Nothing in libssl or in our provider
  // blocks pauses with ASYNC_block_pause, which would turn this loop into a spin.)
  while (!operation->done) {
    counters_.pauses++;
    if (ASYNC_pause_job() == 0) {
      // Out of memory while switching; the device keeps its own reference.
      operation->cancelled = true;
      operation->owner = nullptr;
      break;
    }
  }
  // When it was cancelled the owner no longer names it.
  if (owner->operation == operation) owner->operation = nullptr;
  return operation->done && operation->ok && !operation->cancelled;
}

int OffloadEngine::poll() {
  counters_.polls++;
  int finished = device_->poll(this);
  if (finished == 0) counters_.emptyPolls++;

  while (fifoHead_ != nullptr) {
    Operation* op = fifoHead_;
    Operation* next = op->next;  // a device that accepts it links it into a queue of its own
    const Submit answer = device_->submit(op);
    if (answer == Submit::kRetry) {
      counters_.retries++;
      break;
    }
    fifoHead_ = next;
    if (fifoHead_ == nullptr) fifoTail_ = nullptr;
    fifoLength_--;
    op->queued = false;
    if (answer == Submit::kAccepted) {
      counters_.submitted++;
    } else {
      op->next = nullptr;
      counters_.inlined++;
      if (answer == Submit::kRefused) computeInSoftware(op);
      finish(op);
      finished++;
    }
    op->unref();
  }
  return finished;
}

void OffloadEngine::completed(Operation* operation) {
  counters_.completed++;
  if (!operation->ok && !operation->cancelled) counters_.failed++;
  finish(operation);
}

void OffloadEngine::finish(Operation* operation) {
  operation->done = true;
  OperationOwner* owner = operation->owner;
  operation->owner = nullptr;
  if (owner == nullptr || owner->inReadyQueue) return;
  owner->nextReady = nullptr;
  owner->inReadyQueue = true;
  if (readyTail_ != nullptr) {
    readyTail_->nextReady = owner;
  } else {
    readyHead_ = owner;
  }
  readyTail_ = owner;
}

OperationOwner* OffloadEngine::popReady() {
  OperationOwner* owner = readyHead_;
  if (owner == nullptr) return nullptr;
  readyHead_ = owner->nextReady;
  if (readyHead_ == nullptr) readyTail_ = nullptr;
  owner->nextReady = nullptr;
  owner->inReadyQueue = false;
  return owner;
}

bool OffloadEngine::cancel(OperationOwner* owner) {
  Operation* op = owner->operation;

  if (op != nullptr && op->queued) {
    Operation* previous = nullptr;
    Operation* at = fifoHead_;
    while (at != op) {
      previous = at;
      at = at->next;
    }
    (previous != nullptr ? previous->next : fifoHead_) = op->next;
    if (fifoTail_ == op) fifoTail_ = previous;
    fifoLength_--;
    op->next = nullptr;
    op->queued = false;
    op->unref();  // the FIFO's; the fiber still holds its own
  } else if (op != nullptr && !op->done && !device_->cancellable()) {
    // The device writes into the buffers until it completes. The fiber fails then, so that a
    // zombie does not go on talking to a client that is gone.
    if (!op->cancelled) counters_.cancelled++;
    op->cancelled = true;
    return false;
  }

  if (op != nullptr) {
    if (!op->cancelled) counters_.cancelled++;
    op->cancelled = true;
    op->owner = nullptr;
    op->ok = false;
    op->done = true;
    owner->operation = nullptr;
  }

  // It will be freed: a completion that came before the cancel must not name it any more.
  if (owner->inReadyQueue) {
    OperationOwner* previous = nullptr;
    OperationOwner* at = readyHead_;
    while (at != owner) {
      previous = at;
      at = at->nextReady;
    }
    (previous != nullptr ? previous->nextReady : readyHead_) = owner->nextReady;
    if (readyTail_ == owner) readyTail_ = previous;
    owner->nextReady = nullptr;
    owner->inReadyQueue = false;
  }
  return true;
}

int OffloadEngine::inFlight() const { return device_->inFlight() + fifoLength_; }

bool OffloadEngine::needsPolling() const { return device_->needsPolling(); }

}  // namespace tlsfarm
