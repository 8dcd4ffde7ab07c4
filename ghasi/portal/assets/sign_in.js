// The script of the pages before signing in.
import { start } from "./sign_in_forms.js";

start();
