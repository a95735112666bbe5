// SPDX-License-Identifier: Apache-2.0
//
// Several machines as one memory: nodes that keep replica groups, and the root group, which knows
// who is there and what is where. docs/cluster.md says how it works, and shows a whole program.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <dolmen/error.hpp>
#include <dolmen/index.hpp>
#include <dolmen/ordered_index.hpp>
#include <dolmen/replicated.hpp>
#include <dolmen/replicated_space.hpp>
#include <dolmen/space.hpp>

namespace dolmen {

/// Where nodes of a cluster listen, and what they are spoken to with. One that is there is enough:
/// it knows the others.
struct ClusterAddress {
  /// "192.0.2.7:7400", "[2001:db8::7]:7400", or with a name, which open() looks up: "north:7400".
  std::vector<std::string> nodes;
  /// Who asks: a client's key, and whom it trusts (make_cluster_keys(), Cluster::add_client()).
  std::string identity_file;
  /// A directory in memory in which nodes of this host are met, if they meet there, too
  /// (NodeRunOptions::shared_directory). Nobody is there: they are spoken to by tcp.
  std::string shared_directory{};
  /// As NodeRunOptions::is_trusted_fabric: both sides must say so.
  bool is_trusted_fabric = false;

  /// Of "dolmen://192.0.2.7:7400,192.0.2.8:7400?identity=/etc/dolmen/me.key", behind which there
  /// may be "&shm=DIRECTORY" and "&fabric=trusted". What is not there is what the environment
  /// variables DOLMEN_IDENTITY, DOLMEN_SHM and DOLMEN_FABRIC (`trusted`) say. Errors:
  /// invalid_argument.
  [[nodiscard]] static Result<ClusterAddress> parse(std::string_view text);
  [[nodiscard]] std::string text() const;
};

inline constexpr std::uint32_t kClusterKeyNodesMax = 9;
inline constexpr std::uint32_t kClusterKeyClientsMax = 32;
/// Makes the keys of a new cluster, in a directory that is not there yet: `owner.key`, which says
/// who is trusted and is best kept where no node is; `node-1.key`, …, one for each founder;
/// `client-1.key`, …; and `trust`, which is in each of those as well and is no secret. All of it or
/// nothing. Errors: already_exists, invalid_argument (too many), not_found, io_error, no_space.
[[nodiscard]] Result<void> make_cluster_keys(const std::string& directory, std::uint32_t nodes,
                                             std::uint32_t clients = 1);

struct NodeOptions {
  std::string directory;  ///< this node's alone
  /// Where it listens, and where others reach it. A name is looked up now, once, for this and for
  /// founders: what is kept is its first number (of IPv4, if it has one).
  std::string address;
  /// Of a founder: the file with its own key (make_cluster_keys()), read again at each start; if it
  /// does not begin with '/', seen from the node's directory. Its number is the founder's place.
  std::string identity_file{};
  /// Who a new cluster begins with: the addresses of nodes 1, 2, …, this one's among them; the same
  /// at all of them. At most 9.
  std::vector<std::string> founders{};
  /// Of a founder: the leases of all groups of the new cluster but its root group, as
  /// ReplicatedOptions::lease. The cluster's for ever, from its begin on: what the founder says
  /// that begins it, so say the same at all of them. 60 ms are good; at most 10 s. 0: none.
  std::chrono::milliseconds lease{0};
  /// Instead: of a cluster that is there, which this one joins (Cluster::make_token()). Its key is
  /// made in the directory, and leaves it never.
  std::string token{};
  /// For people; 1 to 63 letters, digits and others that are no blanks. Empty: made of its number.
  std::string name{};
  /// Of a founder's log of all its groups, for ever: what is kept before it is cut.
  std::uint64_t log_tail_bytes_max = 64u << 20;
  /// As NodeRunOptions::is_trusted_fabric: of others that are asked, and of the node whenever it
  /// runs, for its directory keeps it. A directory that keeps something else: invalid_argument.
  bool is_trusted_fabric = false;
};

struct NodeRunOptions {
  /// Of all spaces that this node keeps: the same at every node.
  SpaceFunctions functions{};
  SpaceOptions space{};
  /// A node that is silent for so long has its seats given to others, if there are any. Of whoever
  /// leads the root group counts.
  std::chrono::milliseconds lost_after{std::chrono::seconds(10)};
  /// Of the loop, as ReplicatedOptions::spin.
  std::chrono::microseconds spin{0};
  /// A directory in memory, of this user alone, in which it meets other nodes and clients of this
  /// host that have it as well; made if it is not there. What two say to each other there is not
  /// encrypted, and a client reads indexes by loads (docs/links.md). Empty: what the environment
  /// variable DOLMEN_SHM says, or tcp alone.
  std::string shared_directory{};
  /// Nobody else can reach the network between the nodes and clients: what they say to each other
  /// is not encrypted, once they have proved who they are. All must say so. Also: the environment
  /// variable DOLMEN_FABRIC is `trusted`.
  bool is_trusted_fabric = false;
  /// Where its figures are given to Prometheus, by HTTP and to anybody: "127.0.0.1:9464" or
  /// "[::1]:9464"; port 0 is any. Empty: nowhere (docs/metrics.md).
  std::string metrics{};
};

/// A node: what this process keeps of a cluster. Threads: run() on one; stop() from any, and from a
/// signal handler.
class ClusterNode {
 public:
  /// Makes a new node's directory, once in its life, and the number that it has in the cluster. A
  /// founder that lost its directory joins as another node instead: it would have forgotten what it
  /// promised. What was cut short is done again by the same call. Errors: already_exists,
  /// invalid_argument (also: a token that has expired or was used), not_found (also: a host of that
  /// name), io_error, no_space; of who
  /// joins: timed_out (no node of the cluster answered, or no majority of its root group is there),
  /// not_authentic (it is another cluster, or one that does not know the token any more).
  [[nodiscard]] static Result<void> create(
      const NodeOptions& options, std::chrono::milliseconds patience = std::chrono::seconds(30));
  /// Opens the directory, and listens. Empty: in a program that `dolmen run`, srun or mpirun
  /// started, whose processes are a cluster's nodes, the one that belongs to this process; it is
  /// made if it is not there (docs/cluster.md). Errors: not_found (create() it first), held,
  /// corrupt, invalid_argument, io_error.
  [[nodiscard]] static Result<ClusterNode> start(const std::string& directory,
                                                 NodeRunOptions options = {});
  ClusterNode(ClusterNode&&) noexcept;
  ClusterNode& operator=(ClusterNode&&) noexcept;
  ~ClusterNode();

  [[nodiscard]] std::uint32_t number() const noexcept;
  [[nodiscard]] const std::string& address() const noexcept;
  /// As NodeRunOptions::metrics, with the port; empty: nowhere.
  [[nodiscard]] std::string metrics_address() const;
  /// Serves until stop(). Errors: store_failed, no_space, io_error, corrupt: the node is of no more
  /// use, and start() will find what its disk holds; superseded: it was removed from the cluster,
  /// or runs elsewhere.
  [[nodiscard]] Result<void> run();
  void stop() noexcept;

 private:
  struct Impl;
  explicit ClusterNode(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

/// What a client may do.
struct ClientGrant {
  /// Whatever there is. False: ask where nodes are, how they are, and for their figures; everything
  /// else is `no_right`.
  bool is_owner = true;
  /// Groups that it may make, each shard of an index being one.
  std::uint32_t groups_max = 1024;
};

/// What the root group knows, and as far as they answer, how the groups are.
struct ClusterStatus {
  struct Node {
    std::uint32_t number = 0;
    std::string name{};
    std::string address{};
    std::string state{};  ///< "active", "draining", "lost", "removed"
    std::uint64_t seats = 0;
    /// How this client speaks to it: "shm", "tcp", "clear" (tcp through a trusted fabric). Empty:
    /// it was not reached, or keeps no group.
    std::string link{};
  };
  struct Group {
    std::uint32_t number = 0;
    std::string name{};
    std::string kind{};       ///< "root", "space", "index", "directory"
    bool is_ordered = false;  ///< of kind index: a shard of an ordered one
    std::uint32_t size = 0;   ///< how many voters it shall have
    std::vector<std::uint32_t> members{};
    std::uint32_t adding = 0;        ///< a node that is about to be a member; 0: none
    std::uint32_t leaving = 0;       ///< one that is about to be none
    std::uint32_t leader = 0;        ///< 0: none was reached
    std::uint64_t stable_index = 0;  ///< of the leader
  };
  struct Client {
    std::uint32_t number = 0;  ///< of a token: that of the node which it lets join
    std::string name{};
    std::string state{};          ///< "active", "revoked"; of a token: "token", "used"
    std::uint64_t expires_s = 0;  ///< of a token; since 1970 (UTC)
    std::string rights{};         ///< "owner", "none"
    std::uint32_t groups_max = 0;
  };
  std::string cluster{};      ///< its id, 32 hexadecimal digits
  std::uint64_t version = 0;  ///< of the map: higher ones are later
  std::vector<Node> nodes{};
  std::vector<Group> groups{};
  std::vector<Client> clients{};
};

struct DirectoryOptions {
  /// Into how many groups the ids of objects are spread, for ever: a power of two, at most 256.
  /// Each has room for some 400,000 objects. 0: as many as there are; of a new directory 4.
  std::uint32_t shards = 0;
  std::uint32_t size = 3;  ///< how many nodes keep each
};
/// A shard of a directory.
struct DirectoryShard {
  std::uint32_t group = 0;
  bool has_answered = false;
  IndexShardStats stats{};  ///< if so: objects are its keys, and it has no records
};

/// What the nodes count (docs/metrics.md).
struct ClusterMetrics {
  struct Node {
    std::uint32_t number = 0;
    std::string text{};  ///< in Prometheus' text format; of many groups not all families
  };
  ClusterStatus status{};     ///< the map alone: nobody was asked who leads
  std::vector<Node> nodes{};  ///< that answered
};

/// A client of a cluster. Threads: one at a time.
class Cluster {
 public:
  /// Looks up names of hosts, which may take longer than `patience`. Errors: invalid_argument,
  /// not_found (no host of that name, or no such file), io_error, timed_out (no node answered),
  /// not_authentic.
  [[nodiscard]] static Result<Cluster> open(
      const ClusterAddress& address, std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// … at "dolmen://…"; empty: of the processes of the program that this one is of.
  [[nodiscard]] static Result<Cluster> open(
      std::string_view address, std::chrono::milliseconds patience = std::chrono::seconds(10));
  Cluster(Cluster&&) noexcept;
  Cluster& operator=(Cluster&&) noexcept;
  ~Cluster();

  /// As the node that answers first knows it: it may lag behind by a moment.
  [[nodiscard]] Result<ClusterStatus> status(
      std::chrono::milliseconds patience = std::chrono::seconds(2));

  /// What each node that answers counts, of half a second's patience with those that do not.
  [[nodiscard]] Result<ClusterMetrics> metrics(
      std::chrono::milliseconds patience = std::chrono::seconds(2));

  // Changes, each durable in the root group when it returns. Errors of all: timed_out (whether it
  // happened is not known: the same call again finds out, and so does outcome(last_call())),
  // invalid_argument (with why).

  /// Which of a group's calls the last change, or call(), of this client was; the last of several
  /// that it took.
  [[nodiscard]] CallId last_call() const noexcept;
  /// What became of it, of a call of a client() or of an index of this cluster, as
  /// ReplicatedClient::outcome(): of a function with what it returned, or its error, of a change
  /// without a result. Errors: those, and not_found and timed_out (no such group).
  [[nodiscard]] Result<CallOutcome> outcome(
      const CallId& call, std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// Of the last change, or call(), that gave a result, in the log of last_call()'s group. All
  /// groups of a cluster are durable.
  [[nodiscard]] ReplicatedCommit last_commit() const noexcept;

  /// A space that `size` nodes keep, or as many as there are; its number. It is there when its
  /// nodes have heard of it (a moment). The same name again: the one that is there.
  [[nodiscard]] Result<std::uint32_t> create_space(
      std::string_view name, std::uint32_t size = 3,
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// Gives the seats of a node to others, one after the other, while it serves; afterwards it can
  /// be removed. status() says how far it is.
  [[nodiscard]] Result<void> drain(std::uint32_t node,
                                   std::chrono::milliseconds patience = std::chrono::seconds(10));
  [[nodiscard]] Result<void> undrain(std::uint32_t node,
                                     std::chrono::milliseconds patience = std::chrono::seconds(10));

  /// An index (index.hpp) of so many shards, 1 to 256, each kept by `size` nodes: for ever as many,
  /// each with `each` (whose grace is nobody's business). All of it or nothing. The same again: the
  /// one that is there. Errors: also already_exists (of other shards or sizes, or another
  /// group), out_of_memory (so few nodes have memory for a shard that none could lead it).
  [[nodiscard]] Result<void> create_index(
      std::string_view name, std::uint32_t shards = 1, std::uint32_t size = 3,
      const IndexShardOptions& each = {},
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// A client of the index: it follows its groups whoever keeps them, without this cluster's
  /// client. Errors: not_found; wrong_type (it is an ordered one).
  [[nodiscard]] Result<Index> index(std::string_view name, const IndexOptions& options = {},
                                    std::chrono::milliseconds patience = std::chrono::seconds(10));

  /// The same of an ordered index (ordered_index.hpp). `splits`: the first key of each shard but
  /// the first one, rising: at most 255 of 1 to 128 bytes, of 6144 together; for ever.
  [[nodiscard]] Result<void> create_ordered_index(
      std::string_view name, std::span<const OrderedIndex::Value> splits = {},
      std::uint32_t size = 3, const OrderedShardOptions& each = {},
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// A client of it, that knows from the map where shards begin. Errors: as index(); wrong_type (it
  /// is not ordered).
  [[nodiscard]] Result<OrderedIndex> ordered_index(
      std::string_view name, const IndexOptions& options = {},
      std::chrono::milliseconds patience = std::chrono::seconds(10));

  // Objects that functions published (publish(), replicated_space.hpp): docs/homes.md.

  /// Gives the cluster its directory: all of it or nothing. The same again: the one that is there.
  /// Errors: also already_exists (of another number of shards, or another group has the name of one
  /// of its groups).
  [[nodiscard]] Result<void> create_directory(
      const DirectoryOptions& options = {},
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// Its shards, in their order; exact, as of Index::stats(). One that nobody serves does not hold
  /// up the others for longer than its part of the patience. Errors: unsupported (there is none).
  [[nodiscard]] Result<std::vector<DirectoryShard>> directory(
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// The number of the space in which the object lives. Errors: not_found (it was not published, or
  /// was erased), unsupported (there is no directory), timed_out. Cost: as Index::get(), without
  /// the round trip for a value. `reads`: as of IndexOptions.
  [[nodiscard]] Result<std::uint32_t> home(
      const ObjectId& object, std::chrono::milliseconds patience = std::chrono::seconds(10),
      IndexReads reads = IndexReads::linearizable);
  /// How home() and call() of this client looked objects up.
  [[nodiscard]] IndexCounts home_counts() const noexcept;
  /// Calls a function of the space in which the object lives, as call_space() does, wherever that
  /// is when the function runs: once. Errors: as those of home() and of call_space(); busy (it
  /// moves all the time: nothing happened). After timed_out and connection_lost
  /// outcome(last_call()) says whether it ran.
  [[nodiscard]] Result<std::vector<std::byte>> call(
      const ObjectId& object, std::string_view function, std::span<const std::byte> arguments = {},
      std::chrono::milliseconds patience = std::chrono::seconds(10));

  /// Moves the object to that space, with all that was written to it; when this returns it lives
  /// there, and the directory knows. Meanwhile nobody can write it. Moving it where it is is
  /// nothing. Errors: as those of home(); no_space, already_exists, layout_changed, unsupported
  /// (the space refuses it, and it is where it was), too_large (above 64 MiB), connection_lost (it
  /// may be on its way: the same again waits for it, cancel_move() asks for it back).
  [[nodiscard]] Result<void> move(const ObjectId& object, std::uint32_t space,
                                  std::chrono::milliseconds patience = std::chrono::seconds(30));
  /// Asks for an object back that is on its way. Errors: as those of home(); conflict (it has
  /// arrived), connection_lost (who gets it did not answer).
  [[nodiscard]] Result<void> cancel_move(
      const ObjectId& object, std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// Moves all published objects of a space to the others, in turn. From when it begins the space
  /// takes none and publishes none; when it returns, none of the others will ever move one there.
  /// Errors: as those of move(); timed_out (the same again goes on).
  [[nodiscard]] Result<void> drain_group(
      std::uint32_t space, std::chrono::milliseconds patience = std::chrono::minutes(10));
  /// … takes objects again. Errors: unsupported (drain_group() had come to telling the others that
  /// the space is closed, which is for good).
  [[nodiscard]] Result<void> undrain_group(
      std::uint32_t space, std::chrono::milliseconds patience = std::chrono::seconds(10));

  // Who may connect, or may no more: signed with the owner's key, which is read from `owner_file`
  // and not sent. Errors also: not_authentic (another cluster's), those of reading it.

  /// A node that has no seats, for ever: its number is not used again. Errors: also busy (it has).
  [[nodiscard]] Result<void> remove(std::uint32_t node, const std::string& owner_file,
                                    std::chrono::milliseconds patience = std::chrono::seconds(10));

  /// A token with which one node may join, once, within `lifetime`.
  [[nodiscard]] Result<std::string> make_token(
      const std::string& owner_file, std::chrono::seconds lifetime = std::chrono::hours(1),
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// One more client, and its identity file. Errors: also already_exists (another file is there).
  [[nodiscard]] Result<void> add_client(
      std::string_view name, const std::string& owner_file, const std::string& identity_file,
      const ClientGrant& grant = {}, std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// What it may do from now on. What it asked for under what it had is refused, as `no_right`, if
  /// it was not begun yet; what it has made stays. Errors: also not_found, conflict (somebody else
  /// says something else at the same time).
  [[nodiscard]] Result<void> grant_client(
      std::string_view name, const std::string& owner_file, const ClientGrant& grant,
      std::chrono::milliseconds patience = std::chrono::seconds(10));
  /// For ever. A node ends the client's connections when it hears of it: within a second, if it is
  /// connected. Errors: also not_found.
  [[nodiscard]] Result<void> revoke_client(
      std::string_view name, const std::string& owner_file,
      std::chrono::milliseconds patience = std::chrono::seconds(10));

  /// Gives up a space whose import (`dolmen import`) did not end and will not: what was sent is
  /// erased, nobody can go on with it, and the name is free. Its group stays, without a name and
  /// seen by nobody, for groups are not removed. That it is half an import is looked at where the
  /// group's log has it decided, so that a name in use is never freed; what is cut short is done
  /// again by the same call. Errors: not_found, already_exists (it is in use, or nothing was
  /// imported), those of call_space().
  [[nodiscard]] Result<void> give_up_import(
      std::string_view name, std::chrono::milliseconds patience = std::chrono::seconds(10));

  /// A client of the group with this name, to be used with call_space(). Errors: not_found.
  [[nodiscard]] Result<ReplicatedClient> client(
      std::string_view group, std::chrono::milliseconds patience = std::chrono::seconds(10));

 private:
  struct Impl;
  explicit Cluster(std::unique_ptr<Impl> impl) noexcept;
  std::unique_ptr<Impl> impl_;
};

}  // namespace dolmen
