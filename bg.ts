// The door: picks a path by argv, loads only that, and sets the exit code. The hook alone is at hand.
import { hook } from "./lib/hook.ts";
import { exit, programArguments } from "./lib/runtime.ts";

async function open(argv: string[]): Promise<number> {
	if (argv[0] === "supervise") {
		const { supervise } = await import("./lib/supervise.ts");
		await supervise(argv.slice(1));
		return 0;
	}
	const isHook = argv[0] === "hook" || argv[0] === "hook-complete";
	if (isHook && !/^(-h|--help)$/.test(argv[1] ?? "")) {
		await hook(argv[0] ?? "");
		return 0;
	}
	const { cli } = await import("./lib/cli.ts");
	return cli(argv);
}

// Waited for here: under Bun, whatever outlives the door's own evaluation pays for a garbage collection.
try {
	exit(await open(programArguments()));
} catch (error) {
	console.error(error instanceof Error ? error.stack : error);
	exit(70);
}
