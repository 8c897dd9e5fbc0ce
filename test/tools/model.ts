/**
 * A scripted model: a chat-completions server on loopback, for a real droid without account or
 * network. It keeps every request it was sent. What it answers stands in the prompt, as rules:
 *
 *     RUN[command]   calls the Execute tool        TASK[prompt]   calls the Task tool
 *     SAY[text]      answers with text             FAIL[status]   fails the request
 *     SKILL[name]    calls the Skill tool          REPEAT[]       says what the last tool said
 *     SLOW[ms]       holds the step behind it back
 *     HOLD[file]     the same, until the file exists (an absolute path)
 *
 * The newest user message with a rule in it is the script, and its rules are steps, one a turn. A
 * rule ends at the bracket that closes its own: brackets inside stand in pairs, and may be rules of
 * a subagent's script. In a command `%bg` is the program that the skill task-bg names. After the last
 * step, and without a script, the answer is what the last tool said behind `DONE. `, or `Hello from the
 * scripted model.`
 */

import { existsSync } from "node:fs";

export type Message = {
	role: "system" | "developer" | "user" | "assistant" | "tool";
	content?: string | { type: string; text?: string }[] | null;
	tool_calls?: { function: { name: string; arguments: string } }[];
};

export type ModelRequest = {
	model: string;
	messages: Message[];
	tools?: { function: { name: string } }[];
	stream?: boolean;
};

export type Model = {
	port: number;
	/** Every request so far, oldest first. */
	requests: () => readonly ModelRequest[];
	/** When each of them came, in ms. */
	times: () => readonly number[];
	stop: () => Promise<void>;
};

/** Starts a model on a free port of 127.0.0.1. */
export function startModel(): Model {
	const requests: ModelRequest[] = [];
	const times: number[] = [];
	const server = Bun.serve({
		hostname: "127.0.0.1",
		port: 0,
		// A held answer is no idle connection.
		idleTimeout: 0,
		fetch: async (incoming) => {
			const request = (await incoming.json()) as ModelRequest;
			requests.push(request);
			times.push(performance.now());
			const { wait, file, reply } = decide(request);
			await Bun.sleep(wait);
			while (file && !existsSync(file)) await Bun.sleep(20);
			return respond(request, reply);
		},
	});
	return {
		port: server.port as number,
		requests: () => requests,
		times: () => times,
		stop: () => server.stop(true),
	};
}

/** The texts of a message: the client adds parts of its own beside what the user wrote. */
export function textsOf({ content }: Message): string[] {
	if (typeof content === "string") return [content];
	return (content ?? []).map(({ text }) => text ?? "");
}

// --- internal ---

type Reply =
	| { say: string }
	| { call: string; arguments: Record<string, unknown> }
	| { fail: number };

const rules = {
	RUN: (command, tools): Reply => ({
		call: "Execute",
		arguments: {
			command: command.replaceAll("%bg", () => findProgram(tools)),
			summary: "a scripted command",
			timeout: 600,
			riskLevel: "low",
			riskLevelReason: "it is part of a test",
		},
	}),
	TASK: (prompt): Reply => ({
		call: "Task",
		arguments: {
			subagent_type: "worker",
			description: "a scripted subagent",
			prompt,
		},
	}),
	SKILL: (skill): Reply => ({ call: "Skill", arguments: { skill } }),
	SAY: (say): Reply => ({ say }),
	REPEAT: (_, tools): Reply => ({ say: tools.at(-1) ?? "" }),
	FAIL: (status): Reply => ({ fail: Number(status) }),
} satisfies Record<string, (text: string, tools: string[]) => Reply>;

/** The program that the skill names, which a tool printed. */
function findProgram(tools: readonly string[]): string {
	return /^The program is `([^`]+)`/m.exec(tools.join("\n"))?.[1] ?? "%bg";
}

const rulePattern = new RegExp(
	`(?<name>${Object.keys(rules).join("|")}|SLOW|HOLD)\\[`,
	"g",
);

type Step = { wait: number; file?: string; reply: Reply };

/** The step a request asks for: as many answers as followed the script, as many steps are done. */
function decide({ messages, tools = [] }: ModelRequest): Step {
	const said = messages
		.filter(({ role }) => role === "tool")
		.map((message) => textsOf(message).join("\n"));
	let steps: Step[] = [];
	const at = messages.findLastIndex((message) => {
		if (message.role !== "user") return false;
		steps = textsOf(message).flatMap((text) => readScript(text, said));
		return steps.length > 0;
	});
	const done = messages
		.slice(at + 1)
		.filter(({ role }) => role === "assistant").length;
	const step = steps[done];
	if (!step) return { wait: 0, reply: { say: lastWords(messages) } };
	const { wait, reply } = step;
	const name = "call" in reply ? reply.call : undefined;
	if (name && !tools.some((tool) => tool.function.name === name))
		return { wait, reply: { say: `There is no tool ${name}.` } };
	return step;
}

function readScript(text: string, said: string[]): Step[] {
	const steps: Step[] = [];
	let wait = 0;
	let file = "";
	rulePattern.lastIndex = 0;
	for (;;) {
		const name = rulePattern.exec(text)?.groups?.name;
		if (!name) return steps;
		const start = rulePattern.lastIndex;
		const end = closingBracket(text, start);
		if (end === undefined) return steps;
		const inside = text.slice(start, end);
		rulePattern.lastIndex = end + 1;
		if (name === "SLOW") wait = Number(inside);
		else if (name === "HOLD") file = inside;
		else {
			const reply = rules[name as keyof typeof rules](inside, said);
			steps.push({ wait, file, reply });
			wait = 0;
			file = "";
		}
	}
}

/** Where the bracket that was opened before `start` closes. */
function closingBracket(text: string, start: number): number | undefined {
	let depth = 1;
	for (let at = start; at < text.length; at++) {
		if (text[at] === "[") depth++;
		if (text[at] === "]" && --depth === 0) return at;
	}
	return undefined;
}

function lastWords(messages: readonly Message[]): string {
	const last = messages.at(-1);
	return last?.role === "tool"
		? `DONE. ${textsOf(last).join("\n").slice(0, 400)}`
		: "Hello from the scripted model.";
}

function respond({ model, stream }: ModelRequest, reply: Reply): Response {
	if ("fail" in reply)
		return Response.json(
			{ error: { message: "a scripted failure" } },
			{ status: reply.fail },
		);
	const id = crypto.randomUUID();
	const head = { id, created: Math.floor(Date.now() / 1000), model };
	const message = {
		role: "assistant",
		...("say" in reply
			? { content: reply.say }
			: {
					content: null,
					tool_calls: [
						{
							index: 0,
							id: `call_${id}`,
							type: "function",
							function: {
								name: reply.call,
								arguments: JSON.stringify(reply.arguments),
							},
						},
					],
				}),
	};
	const finish_reason = "say" in reply ? "stop" : "tool_calls";
	const usage = { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 };
	if (!stream)
		return Response.json({
			...head,
			object: "chat.completion",
			choices: [{ index: 0, message, finish_reason }],
			usage,
		});
	const events = [
		{ choices: [{ index: 0, delta: message, finish_reason: null }] },
		{ choices: [{ index: 0, delta: {}, finish_reason }] },
		{ choices: [], usage },
	].map((part) =>
		JSON.stringify({ ...head, object: "chat.completion.chunk", ...part }),
	);
	return new Response(
		[...events, "[DONE]"].map((event) => `data: ${event}\n\n`).join(""),
		{ headers: { "content-type": "text/event-stream" } },
	);
}
