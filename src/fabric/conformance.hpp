// SPDX-License-Identifier: Apache-2.0
//
// What every backend of the fabric is held to (docs/fabric.md). A backend's test file names a World
// and instantiates the suite with it:
//
//   INSTANTIATE_TYPED_TEST_SUITE_P(Tcp, FabricConformance, TcpLoopback);
//
//   struct World {
//     std::unique_ptr<Endpoint> make(NodeName name);         // knows every other one, made before
//     or later void before_end(NodeId node);                          // its endpoint is destroyed
//     next std::uint64_t now_ns();                                // the clock of Endpoint::wait()
//     void pass_time();                                      // no endpoint has anything to do
//     static std::string missing();                          // optional: why it cannot run here
//     static constexpr bool kRealTime;                       // wait() and wake() block threads
//   };
#pragma once

#include <gtest/gtest.h>

#include "fabric/conformance_memory.hpp"
#include "fabric/conformance_messages.hpp"
#include "fabric/conformance_waiting.hpp"

namespace dolmen::fabric {

REGISTER_TYPED_TEST_SUITE_P(
    FabricConformance, MessagesArriveInOrderAndOnce, MessagesOfEveryLengthArriveWhole,
    PartsAreOneMessageAndCopied, AReaderThatDoesNotReadMakesTheSenderBusy, NobodyElseIsReached,
    ALostConnectionIsReportedAndMadeAgain, MessagesBeforeALossArriveUpToOneAndNeverTwice,
    ANewLifeIsAnotherPeer, AGrantHoldsInEachLifeOfTheNode, OneSidedOperationsDoWhatTheySay,
    LargeReadsAndWritesArriveWhole, WhatIsBeyondARegionOrNotGrantedIsRefusedAndChangesNothing,
    RegionsAreMadeOnceAndClosed, NothingLandsBehindARevocation,
    OperationsUnderWayEndWithTheConnection, LevelsAreAsTheTraitsSay,
    WhatWasAskedForFirstHappensFirst, TooManyOperationsAreBusyAndNoneIsForgotten,
    FetchAddsOfManyNodesAreAllCounted, ASinkMayUseItsEndpoint, MappedMemoryIsTheTargetsMemory,
    WaitEndsAtItsTimeAndBlocksUntilThen, WaitEndsWhenSomethingArrives,
    AWakeFromAnotherThreadEndsTheWait);

}  // namespace dolmen::fabric
