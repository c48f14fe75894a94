import { containerd } from "./daemons.ts";
import { testPulls } from "./pulls.ts";

testPulls(containerd);
