%% Peer: Erlang, 2 workers in one remote node, messages over its distribution. main/2 gets this module's own code, which
%% the other node needs, and the name of the case.
-module(erlang_pool).
-export([main/2, stay/1, loop/0]).

-define(AHEAD, 64).   % tasks under way per worker
-define(THINK, 300).  % us

main(Code, Case) ->
    Mine = erl_epmd:names("localhost"),  % whoever started the name server ends it
    os:cmd("epmd -daemon"),
    Id = os:getpid(),
    {ok, _} = net_kernel:start(list_to_atom("bench_" ++ Id ++ "@localhost"), #{name_domain => shortnames}),
    erlang:set_cookie(node(), bench),
    Remote = list_to_atom("work_" ++ Id ++ "@localhost"),
    Stay = lists:flatten(io_lib:format("erlang:set_cookie(node(), bench), {ok, M, B} = compile:file(~p, [binary]), "
                                       "{module, M} = code:load_binary(M, [], B), M:stay(~p).", [Code, node()])),
    Port = open_port({spawn_executable, os:find_executable("erl")},
                     [{args, ["-noshell", "-sname", atom_to_list(Remote), "-setcookie", "bench", "-eval", Stay]}]),
    ready = hello(Remote, 300),
    Workers = [spawn(Remote, ?MODULE, loop, []) || _ <- [1, 2]],
    run(Case, Workers),
    erlang:monitor_node(Remote, true),
    rpc:cast(Remote, erlang, halt, []),
    receive {nodedown, Remote} -> ok end,
    port_close(Port),
    case Mine of
        {error, _} -> net_kernel:stop(), os:cmd("epmd -kill");
        _ -> ok
    end.

%% In the remote node: it lives as long as the other one.
stay(Caller) ->
    true = net_kernel:connect_node(Caller),
    erlang:monitor_node(Caller, true),
    receive {nodedown, Caller} -> halt() end.

hello(_, 0) -> silent;
hello(Remote, Tries) ->
    case rpc:call(Remote, erlang, module_loaded, [?MODULE]) of
        true -> ready;
        _ -> timer:sleep(20), hello(Remote, Tries - 1)
    end.

loop() ->
    receive
        {From, think} -> From ! {self(), think()};
        {From, Task} -> From ! {self(), Task}
    end,
    loop().

micros() -> erlang:monotonic_time(nanosecond) / 1000.

%% Keeps the processor; says how long that was.
think() -> think(micros()).
think(Begin) ->
    case micros() - Begin of
        Long when Long >= ?THINK -> Long;
        _ -> think(Begin)
    end.

run("pool-map-chunk-1" ++ Rest, Workers) ->
    Tasks = case Rest of "-20k" -> 20000; _ -> 200000 end,
    map(Workers, Tasks),  % warms up
    Rates = lists:sort([map(Workers, Tasks) || _ <- lists:seq(1, 5)]),
    emit("pool-map-chunk-1" ++ Rest, "rate", lists:nth(3, Rates), "task/s");
run(Case, [Worker | _]) when Case =:= "pool-submit"; Case =:= "pool-submit-asleep" ->
    Samples = [submit(Case, Worker) || _ <- lists:seq(1, 3000)],
    Sorted = lists:sort(lists:nthtail(1000, Samples)),
    emit(Case, "p50", lists:nth(length(Sorted) div 2, Sorted), "us").

map(Workers, Tasks) ->
    Begin = micros(),
    Sent = lists:foldl(fun(Worker, N) -> send(Worker, N, ?AHEAD) end, 0, Workers),
    collect(Tasks, Sent, 0),
    Tasks / (micros() - Begin) * 1.0e6.

send(_, N, 0) -> N;
send(Worker, N, Left) -> Worker ! {self(), N}, send(Worker, N + 1, Left - 1).

collect(Tasks, _, Tasks) -> ok;
collect(Tasks, Sent, Got) ->
    receive
        {Worker, _} when Sent < Tasks -> Worker ! {self(), Sent}, collect(Tasks, Sent + 1, Got + 1);
        {_, _} -> collect(Tasks, Sent, Got + 1)
    end.

submit("pool-submit", Worker) -> there_and_back(Worker, 0, fun(_) -> 0 end);
submit(_, Worker) -> think(), there_and_back(Worker, think, fun(Thought) -> Thought end).

there_and_back(Worker, Task, Thought) ->
    Begin = micros(),
    Worker ! {self(), Task},
    receive {Worker, Answer} -> micros() - Begin - Thought(Answer) end.

emit(Case, Metric, Value, Unit) ->
    io:format("~s\tErlang, a remote node\tpeer\t~s\t~.6g\t~s\tsleeps~n", [Case, Metric, float(Value), Unit]).
