/** Turns a planned call into an argv, an input, and the tasks that it is about. */
import { findTask } from "../../lib/store/records.ts";
import { isFinal } from "../../lib/task/states.ts";
import { type Call, subagentOf, type TaskPlan } from "./plan.ts";

/** A task that a launcher printed. */
export type Announced = {
	id: string;
	own: string;
	session: string;
	/** How its first launch was planned. */
	plan: TaskPlan | undefined;
};

/** `session`: the session that makes the call, if one does. `inside`: the task that it is made in. */
export type Asked = {
	argv: string[];
	input?: string;
	inside?: string;
	about: string[];
	session?: string | undefined;
};

/** The program, the log that tasks write to, and the store. */
export type Place = { program: string; log: string; dir: string };

export function askFor(
	call: Call,
	announced: readonly Announced[],
	place: Place,
): Asked {
	const chooseFrom = (from: readonly Announced[], of: number) =>
		from[of % Math.max(from.length, 1)];
	const choose = (of: number) => chooseFrom(announced, of);
	/** One that has not ended, if there is one. */
	const chooseUnfinished = (of: number, isMeant = (_: Announced) => true) => {
		const meant = announced.filter(isMeant);
		const unfinished = meant.filter(({ id }) => {
			const task = findTask({ dir: place.dir }, id);
			return task && !isFinal(task);
		});
		return chooseFrom(unfinished.length ? unfinished : meant, of);
	};
	switch (call.verb) {
		case "run":
		case "launch": {
			const after = call.task.after.flatMap((of) => choose(of)?.id ?? []);
			return launch(call.task, lineOf(call.task, place, after));
		}
		case "batch":
			return batch(call.tasks, place);
		case "hook":
			return hook(call.session, call.event);
		case "subagent":
			return subagent(call);
		case "send":
		case "note": {
			const isSend = call.verb === "send";
			const task = chooseUnfinished(
				call.of,
				({ plan }) => plan?.kind === "droid" || !isSend,
			);
			if (!task) return listCall;
			const flags = call.waits ? ["--wait", "--timeout", "2s"] : [];
			const to = isSend ? task.id : "parent";
			const inside = isSend ? undefined : task.id;
			const argv = ["send", ...flags, to, call.text];
			return { argv, about: [task.id], ...(inside && { inside }) };
		}
		case "feed": {
			const task = chooseUnfinished(
				call.of,
				({ plan }) => plan?.kind === "reader",
			);
			if (!task) return listCall;
			const flags = call.ends ? ["--eof"] : [];
			const argv = ["send", ...flags, task.id, call.text];
			return { argv, about: [task.id] };
		}
		case "deliver": {
			const task = chooseUnfinished(
				call.of,
				({ plan }) => plan?.kind === "droid",
			);
			if (!task) return listCall;
			const { droid_session_id = "unknown" } =
				findTask({ dir: place.dir }, task.id) ?? {};
			const asked = hook(droid_session_id, call.event, {
				tool_name: "Execute",
			});
			return { ...asked, about: [task.id], inside: task.id };
		}
		case "pause":
		case "unpause":
		case "edit":
		case "retry": {
			const task = choose(call.of);
			if (!task) return listCall;
			const { id, session } = task;
			const flags = call.verb === "edit" ? ["--priority", "1"] : [];
			return { argv: [call.verb, ...flags, id], about: [id], session };
		}
		case "resume": {
			const droids = announced.filter(({ plan }) => plan?.kind === "droid");
			const task = chooseFrom(droids, call.of);
			if (!task?.plan) return listCall;
			const { id, plan, session } = task;
			const argv = ["resume", id, promptOf(plan, place)];
			return { argv, about: [id], session };
		}
		case "hold":
		case "release": {
			const verb = call.verb === "hold" ? "pause" : "unpause";
			return { argv: [verb, "--queue"], about: [] };
		}
		case "limit":
			return { argv: ["limit", "running", `${call.running}`], about: [] };
		case "hook-complete":
		case "complete": {
			const task = choose(call.of);
			if (!task) return listCall;
			const about = [task.id];
			const words = { last_assistant_message: "said so" };
			return call.verb === "complete"
				? { argv: [call.verb, task.id, "said so"], about }
				: { ...hook(task.own, "SubagentStop", words, call.verb), about };
		}
		case "wait":
		case "cancel":
		case "status":
		case "output": {
			const tasks = call.of.flatMap((of) => choose(of) ?? []);
			const about = [...new Set(tasks.map(({ id }) => id))];
			if (about.length === 0) return listCall;
			const session = call.collects ? tasks[0]?.session : undefined;
			const flags = call.verb === "wait" ? ["--timeout", "3s"] : [];
			if (call.any) flags.push("--any");
			return { argv: [call.verb, ...flags, ...about], about, session };
		}
		case "delete":
			return {
				argv: ["cleanup", "--delete", "--older-than", "1s"],
				about: [],
			};
		default:
			return { argv: [call.verb], about: [] };
	}
}

// --- internal ---

/** The call if there is no task yet. */
const listCall: Asked = { argv: ["list"], about: [] };

/** A task logs its start and its end outside of the store. */
const begin = 'echo "start $BG_TASK_ID $BG_ATTEMPT $EPOCHREALTIME" >>';
const end = (code: string) =>
	`echo "end $BG_TASK_ID $BG_ATTEMPT ${code} $EPOCHREALTIME" >>`;
const print = 'echo "out $BG_TASK_ID $BG_ATTEMPT"';
/** A full disk does not take the words: the task itself is told so. */
const printOrLog = (word: string) =>
	`echo "${word} $BG_TASK_ID $BG_ATTEMPT" || echo "unwritten $BG_TASK_ID $BG_ATTEMPT ${word}" >> "$1"`;
/** It sleeps shorter if the file `<log>.open` exists. A long sleep polls less often. */
const nap =
	'for ((n = $2, step = n < 100 ? 1 : 4; n > 0; n -= step)); do [ -e "$1.open" ] && break; sleep 0.$step; done';
/** The same for a droid's tool, in any shell. Its arguments: the log, in s. */
const toolNap = (log: string, seconds: number) =>
	`n=${Math.ceil(seconds * 2)}; until test -e ${log}.open || test $n -le 0; do sleep 0.5; n=$((n - 1)); done`;

/** Its arguments: the log, tenths of a second, the exit code, a command to run at the start. */
const script = `${printOrLog("out")}; ${begin} "$1"; [ $# = 3 ] || "\${@:4}" > /dev/null; ${nap}; ${printOrLog("whole")}; ${end("$3")} "$1"; exit "$3"`;

/** Its arguments: the log, seconds (0: no limit), the exit code. What it reads is in `<log>.<id>.<attempt>`. */
const reader = `${printOrLog("out")}; ${begin} "$1"; timeout "$2" cat > "$1.$BG_TASK_ID.$BG_ATTEMPT" && echo "eof $BG_TASK_ID $BG_ATTEMPT" >> "$1"; ${printOrLog("whole")}; ${end("$3")} "$1"; exit "$3"`;

/** A task as a line of a batch. */
function lineOf(task: TaskPlan, place: Place, after: string[]) {
	const { name, kind, code, seconds, timeout, unique } = task;
	const { priority, retries } = task;
	const { program, log } = place;
	const common = {
		description: name,
		...(timeout && { timeout }),
		...(unique && { unique }),
		priority,
		retries,
		...(after.length && { [task.afterAny ? "after_any" : "after"]: after }),
		...(task.onEnd && {
			on_end: ["bash", "-c", `echo "followed $BG_ENDED_ID" >> ${log}`],
		}),
	};
	const commandOf = (tenths: number, exit: number) =>
		["bash", "-c", script, "task", log].concat(`${tenths}`, `${exit}`);
	const command = commandOf(Math.round(seconds * 10), code);
	if (kind === "reader") {
		const argv = [
			"bash",
			"-c",
			reader,
			"task",
			log,
			`${seconds + 1}`,
			`${code}`,
		];
		return { ...common, stdin: "keep", command: argv };
	}
	if (kind === "missing") return { ...common, command: ["no-such-program"] };
	if (kind === "nested")
		command.push(program, "run", `in ${name}`, "--", ...commandOf(3, 0));
	if (kind !== "droid") return { ...common, command };
	return { ...common, prompt: promptOf(task, place) };
}

/** What a droid is told: it decides how it ends. */
function promptOf({ code, seconds }: TaskPlan, { log }: Place): string {
	const tool = `${print}; ${begin} ${log}; ${toolNap(log, seconds)}; ${end("0")} ${log}`;
	return code ? "FAIL[500]" : `RUN[${tool}]`;
}

/** The same as flags. */
function launch(
	{ kind, byFile, session }: TaskPlan,
	line: { description: string; prompt?: string; command?: string[] },
): Asked {
	const { description, prompt, command, ...rest } = line;
	const flags = Object.entries(rest).flatMap(([name, value]) => [
		`--${name.replace("_", "-")}`,
		name === "on_end" ? JSON.stringify(value) : String(value),
	]);
	if (kind === "droid" && byFile) flags.push("--private");
	const argv = prompt
		? ["launch", ...flags, description, prompt]
		: ["run", ...flags, description, "--", ...(command ?? [])];
	return { argv, about: [], session };
}

/** The other lines of a batch wait for the first. */
function batch(tasks: readonly TaskPlan[], place: Place): Asked {
	const lines = tasks.map((task, index) => ({
		...lineOf(task, place, index ? ["line-0"] : []),
		parent_session_id: task.session,
		name: `line-${index}`,
	}));
	const input = lines.map((line) => JSON.stringify(line)).join("\n");
	return { argv: ["launch", "--batch", "-"], input, about: [] };
}

function hook(
	session: string,
	event: string,
	fields: object = {},
	verb = "hook",
): Asked {
	const payload = { hook_event_name: event, session_id: session, ...fields };
	return { argv: [verb], input: JSON.stringify(payload), about: [], session };
}

/** The hooks that droid calls for a subagent of its own. */
function subagent(call: Extract<Call, { verb: "subagent" }>): Asked {
	const { event, session } = call;
	const own = subagentOf(session);
	const name = `subagent of ${session}`;
	if (event === "launched")
		return hook(session, "PostToolUse", {
			tool_name: "Task",
			tool_input: { description: name, prompt: "do it" },
			tool_response: `Task launched in background.\ntask_id: ${own}\n`,
		});
	if (event === "SubagentStop")
		return hook(session, event, { task_name: name, task_result: "ok" });
	const caller = { calling_session_id: session };
	return hook(own, event, event === "SessionStart" ? caller : {});
}
